/*
 * hog: a memory user with many vices, for tests in a throwaway virtual machine.
 *
 * It prints "ready PID" once it holds what it was asked to hold, after one line "child PID" or
 * "share PID" for each process it made; whoever started it waits for those lines and never guesses.
 * Sizes are MiB. Built static, so that a machine out of memory does not also have to find libc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hog.h"

struct hog_options opt;

void die(const char *format, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, format);
	fprintf(stderr, "hog: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(saved));
	va_end(args);
	exit(2);
}

/* --- who it is ---------------------------------------------------------------------------- */

static void set_adj(long adj)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "w");

	if (!file || fprintf(file, "%ld", adj) < 0 || fclose(file))
		die("oom_score_adj %ld", adj);
}

static void drop_sys_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint32_t keep = ~(1U << CAP_SYS_ADMIN);

	if (syscall(SYS_capget, &header, data))
		die("capget");
	data[0].effective &= keep;
	data[0].permitted &= keep;
	data[0].inheritable &= keep;
	if (syscall(SYS_capset, &header, data))
		die("capset");
}

/* Before it takes any memory, so that all of it is charged there. */
static void join_cgroup(const char *directory)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	file = fopen(path, "w");
	if (!file || fputs("0", file) < 0 || fclose(file))
		die("%s", path);
}

static void bind_memory(unsigned long nodes)
{
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes)))
		die("set_mempolicy");
}

/* In this order: each step may take away what the one before it needed. */
static void become(void)
{
	if (opt.name && prctl(PR_SET_NAME, opt.name))
		die("prctl");
	if (opt.cgroup)
		join_cgroup(opt.cgroup);
	if (opt.bind)
		bind_memory(opt.bind);
	if (opt.has_adj)
		set_adj(opt.adj);
	if (opt.mlock && mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	if (opt.has_uid && setresuid(opt.uid, opt.uid, opt.uid))
		die("setresuid");
	if (opt.drop_sys_admin)
		drop_sys_admin();
	if (opt.userns && unshare(CLONE_NEWUSER))
		die("unshare");
}

/* --- what it does ------------------------------------------------------------------------- */

static void write_forever(const char *path)
{
	static char page[4096];
	struct timespec breath = { .tv_nsec = 10000000 };
	int fd = open(path, O_WRONLY | O_CREAT | O_SYNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die("%s", path);
	for (;;) {
		if (pwrite(fd, page, sizeof(page), 0) < 0)
			die("%s", path);
		nanosleep(&breath, NULL);
	}
}

static void *live(void *unused)
{
	sigset_t usr1;
	int signal_number;

	(void)unused;
	for (long i = 0; i < opt.children; i++)
		make_child();
	for (long i = 0; i < opt.threads; i++)
		make_thread();
	grow(opt.mib);
	take_pages(opt.pages);
	if (opt.swap_out)
		swap_out();
	if (opt.share)
		make_sharer();
	if (opt.vfork)
		vfork_forever();
	say("ready", getpid());

	if (opt.exit_after_ready)
		exit(0);
	if (opt.grow_on_usr1) {
		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		sigwait(&usr1, &signal_number);
	}
	if (opt.forever || opt.grow_on_usr1)
		grow(opt.grow_mib ? opt.grow_mib : -1);
	if (opt.write)
		write_forever(opt.write);
	pause_forever();
	return NULL;
}

/* A process whose leader is a zombie while another thread holds the memory. */
static void live_without_leader(void)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, live, NULL);
	if (errno)
		die("pthread_create");
	/* The bare system call: it ends this thread alone, and runs nothing on the way out. */
	syscall(SYS_exit, 0);
}

/* --- options ------------------------------------------------------------------------------ */

enum {
	MIB_OPT = 256, RATE, CHILDREN, CHILD_MIB, ADJ, UID, NAME, WRITE, ON_USR1,
	RANDOM, FOREVER, HOLD, SHARE, EXIT_LEADER, PGTABLES, MLOCK, SHMEM,
	DROP_SYS_ADMIN, EXIT_AFTER_READY, USERNS, PAGES, GROW_MIB, SWAP_OUT, THREADS,
	GRANDCHILD, VFORK, CGROUP, BIND,
};

static const struct option OPTIONS[] = {
	{ "mib", required_argument, NULL, MIB_OPT },
	{ "rate", required_argument, NULL, RATE },		/* MiB a second; 0: all it can */
	{ "children", required_argument, NULL, CHILDREN },
	{ "child-mib", required_argument, NULL, CHILD_MIB },
	{ "adj", required_argument, NULL, ADJ },
	{ "uid", required_argument, NULL, UID },
	{ "name", required_argument, NULL, NAME },
	{ "write", required_argument, NULL, WRITE },		/* then rewrite a page of this file */
	{ "on-usr1", required_argument, NULL, ON_USR1 },	/* "grow": without end, once asked */
	{ "random", no_argument, NULL, RANDOM },
	{ "forever", no_argument, NULL, FOREVER },		/* and do not stop at --mib */
	{ "hold", no_argument, NULL, HOLD },			/* the default: sleep, once ready */
	{ "share", no_argument, NULL, SHARE },
	{ "exit-leader", no_argument, NULL, EXIT_LEADER },
	{ "pgtables", no_argument, NULL, PGTABLES },		/* --mib counts page tables */
	{ "mlock", no_argument, NULL, MLOCK },
	{ "shmem", no_argument, NULL, SHMEM },
	{ "drop-sys-admin", no_argument, NULL, DROP_SYS_ADMIN },
	{ "exit-after-ready", no_argument, NULL, EXIT_AFTER_READY },
	{ "userns", no_argument, NULL, USERNS },
	{ "pages", required_argument, NULL, PAGES },		/* on top of --mib */
	{ "grow-mib", required_argument, NULL, GROW_MIB },	/* what --on-usr1 and --forever stop at */
	{ "swap-out", no_argument, NULL, SWAP_OUT },		/* all that it holds, before "ready" */
	{ "threads", required_argument, NULL, THREADS },	/* idle ones */
	{ "grandchild", no_argument, NULL, GRANDCHILD },	/* each child has a child as large */
	{ "vfork", no_argument, NULL, VFORK },			/* and wait for the child for ever */
	{ "cgroup", required_argument, NULL, CGROUP },		/* a directory to join first */
	{ "bind", required_argument, NULL, BIND },		/* a bitmask of NUMA nodes */
	{ NULL, 0, NULL, 0 },
};

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (!*text || *end) {
		errno = EINVAL;
		die("not a number: %s", text);
	}
	return value;
}

static void take_option(int option)
{
	switch (option) {
	case MIB_OPT: opt.mib = number(optarg); break;
	case RATE: opt.rate = number(optarg); break;
	case CHILDREN: opt.children = number(optarg); break;
	case CHILD_MIB: opt.child_mib = number(optarg); break;
	case ADJ: opt.adj = number(optarg); opt.has_adj = true; break;
	case UID: opt.uid = number(optarg); opt.has_uid = true; break;
	case NAME: opt.name = optarg; break;
	case WRITE: opt.write = optarg; break;
	case ON_USR1: opt.grow_on_usr1 = strcmp(optarg, "grow") == 0; break;
	case RANDOM: opt.random = true; break;
	case FOREVER: opt.forever = true; break;
	case HOLD: opt.hold = true; break;
	case SHARE: opt.share = true; break;
	case EXIT_LEADER: opt.exit_leader = true; break;
	case PGTABLES: opt.pgtables = true; break;
	case MLOCK: opt.mlock = true; break;
	case SHMEM: opt.shmem = true; break;
	case DROP_SYS_ADMIN: opt.drop_sys_admin = true; break;
	case EXIT_AFTER_READY: opt.exit_after_ready = true; break;
	case USERNS: opt.userns = true; break;
	case PAGES: opt.pages = number(optarg); break;
	case GROW_MIB: opt.grow_mib = number(optarg); break;
	case SWAP_OUT: opt.swap_out = true; break;
	case THREADS: opt.threads = number(optarg); break;
	case GRANDCHILD: opt.grandchild = true; break;
	case VFORK: opt.vfork = true; break;
	case CGROUP: opt.cgroup = optarg; break;
	case BIND: opt.bind = number(optarg); break;
	default: exit(2); /* getopt has said what is wrong */
	}
}

int main(int argc, char **argv)
{
	sigset_t usr1;
	int option;

	while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1)
		take_option(option);
	if (optind < argc) {
		errno = EINVAL;
		die("%s", argv[optind]);
	}
	if (opt.grow_on_usr1) {
		/* Blocked before any thread exists, so that sigwait() gets it and nobody dies of it. */
		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		sigprocmask(SIG_BLOCK, &usr1, NULL);
	}
	become();
	if (opt.exit_leader)
		live_without_leader();
	live(NULL);
	return 0;
}
