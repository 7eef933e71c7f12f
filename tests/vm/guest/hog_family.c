/* The hog's relatives: children, grandchildren, and those who share its memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "hog.h"

void say(const char *word, long pid)
{
	printf("%s %ld\n", word, pid);
	fflush(stdout);
}

void pause_forever(void)
{
	for (;;)
		pause();
}

/* A process with memory of its own, and so many generations below it. It takes its memory after
 * the fork, and says so through the pipe when those below it have theirs. */
static void descend(const char *word, int generations)
{
	int ready[2];
	char byte = 0;

	if (pipe(ready))
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		grow(opt.child_mib);
		if (generations)
			descend("grandchild", generations - 1);
		if (write(ready[1], &byte, 1) != 1)
			die("write");
		pause_forever();
	}
	if (read(ready[0], &byte, 1) != 1)
		die("read");
	close(ready[0]);
	close(ready[1]);
	say(word, pid);
}

void make_child(void)
{
	descend("child", opt.grandchild ? 1 : 0);
}

static int sharer(void *word)
{
	if (word)
		say(word, getpid());
	pause_forever();
	return 0;
}

/* Another process (its own pid and signals) on the same memory. */
void make_sharer(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid = clone(sharer, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);

	if (pid < 0)
		die("clone");
	say("share", pid);
}

/* The same, but as vfork() does it: the caller waits in the kernel for ever, so that its child
 * says that all is ready. It names itself, and its parent, whom `ready` is about. */
static int vforked(void *unused)
{
	(void)unused;
	say("share", getpid());
	say("ready", getppid());
	pause_forever();
	return 0;
}

void vfork_forever(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	if (clone(vforked, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) < 0)
		die("clone");
}

static void *idle(void *unused)
{
	(void)unused;
	pause_forever();
	return NULL;
}

void make_thread(void)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, idle, NULL);
	if (errno)
		die("pthread_create");
}
