/*
 * beat NAME MIB SLICES [FILE]: touches its memory, one of SLICES parts every 20 ms, for ever.
 *
 * The heartbeat, the database and the small services are this. Its memory is ordinary, and may be
 * swapped out; with FILE, as much of that is mapped and touched too. At SIGTERM it prints each gap
 * between two beats that was over 100 ms ("gap BEGAN_US TOOK_US") and the longest of all.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "storms.h"

#define BEAT_US 20000
#define GAP_US 100000
#define GAPS 4096

static struct { int64_t began_us, took_us; } gaps[GAPS];
static size_t gaps_seen;
static int64_t longest_us;
static volatile sig_atomic_t ended;

static void end(int signal_number)
{
	(void)signal_number;
	ended = 1;
}

static void touch(volatile char *memory, size_t size, long slice, long slices, int write)
{
	size_t part = size / slices, begin = part * slice;

	for (size_t at = begin; at < begin + part; at += PAGE) {
		if (write)
			memory[at]++;
		else
			(void)memory[at];
	}
}

static char *map(const char *file, size_t size)
{
	int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;

	if (file && fd < 0)
		die(file);
	char *memory = file ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0)
			    : mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static void note(int64_t began_us, int64_t took_us)
{
	if (took_us > longest_us)
		longest_us = took_us;
	if (took_us > GAP_US && gaps_seen < GAPS) {
		gaps[gaps_seen].began_us = began_us;
		gaps[gaps_seen++].took_us = took_us;
	}
}

/* To whoever waits: systemd (sd_notify(3)), or who reads stdout. */
static void tell_ready(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");

	puts("ready");
	fflush(stdout);
	if (!path)
		return;
	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(path);
	close(fd);
}

int main(int argc, char **argv)
{
	struct sigaction on_term = { .sa_handler = end };

	if (argc < 4 || argc > 5) {
		fprintf(stderr, "usage: beat NAME MIB SLICES [FILE]\n");
		return 2;
	}
	size_t size = atol(argv[2]) * MIB;
	long slices = atol(argv[3]);
	char *memory = map(NULL, size), *file = argc == 5 ? map(argv[4], size) : NULL;
	uint64_t *word = (uint64_t *)memory;

	prctl(PR_SET_NAME, argv[1]);
	sigaction(SIGTERM, &on_term, NULL);
	/* As compressible as real data is: half of each page is noise. */
	for (size_t i = 0, noise = getpid(); i < size / sizeof(*word); i++) {
		noise = noise * 6364136223846793005ULL + 1442695040888963407ULL;
		word[i] = i % 2 ? noise : 0;
	}
	tell_ready();
	int64_t last_us = now_us();
	for (long beat = 0; !ended; beat++) {
		touch(memory, size, beat % slices, slices, 1);
		if (file)
			touch(file, size, beat % slices, slices, 0);
		int64_t now = now_us();
		note(last_us, now - last_us);
		last_us = now;
		sleep_until_us(now + BEAT_US);
	}
	for (size_t i = 0; i < gaps_seen; i++)
		printf("gap %lld %lld\n", (long long)gaps[i].began_us, (long long)gaps[i].took_us);
	printf("longest %lld\n", (long long)longest_us);
	return 0;
}
