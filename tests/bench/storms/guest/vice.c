/*
 * vice walk PATH | bomb CHILDREN MIB EVERY_MS | tmpfs FILE MIB_PER_S: what hog cannot do.
 *
 * walk reads a mapped file or disk from end to end, for ever. bomb forks so many children, each of which
 * touches its memory and stays. tmpfs lets a file grow in memory, mapped, for ever.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>

#include "storms.h"

static void touch(volatile char *memory, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		*(volatile uintptr_t *)(memory + at) = at + 1;
}

static void walk(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = lseek(fd, 0, SEEK_END);

	if (fd < 0 || size < 0)
		die(path);
	volatile char *file = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		die("mmap");
	for (;;)
		for (off_t at = 0; at < size; at += PAGE)
			(void)file[at];
}

static void bomb(long children, size_t size, int64_t every_us)
{
	for (; children > 0; children--) {
		pid_t pid = fork();

		if (pid == 0) {
			char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (memory == MAP_FAILED)
				die("mmap");
			touch(memory, size);
			for (;;)
				pause();
		}
		/* Refused for want of memory: it tries again, as a bomb would. */
		children += pid < 0;
		sleep_until_us(now_us() + every_us);
	}
	for (;;)
		pause();
}

static void fill_tmpfs(const char *path, int64_t every_us)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	for (off_t size = 0;; size += MIB) {
		if (ftruncate(fd, size + MIB))
			die(path);
		char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, size);
		if (memory == MAP_FAILED)
			die("mmap");
		touch(memory, MIB);
		sleep_until_us(now_us() + every_us);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	prctl(PR_SET_NAME, what);
	if (argc == 3 && !strcmp(what, "walk"))
		walk(argv[2]);
	if (argc == 5 && !strcmp(what, "bomb"))
		bomb(atol(argv[2]), atol(argv[3]) * MIB, atol(argv[4]) * 1000);
	if (argc == 4 && !strcmp(what, "tmpfs"))
		fill_tmpfs(argv[2], 1000000 / atol(argv[3]));
	fprintf(stderr, "usage: vice walk PATH | bomb CHILDREN MIB EVERY_MS | tmpfs FILE MIB_PER_S\n");
	return 2;
}
