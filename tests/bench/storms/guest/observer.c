/*
 * observer PERCENT QUIET_S LIMIT_S: what became of memory, and when the storm was over.
 *
 * The crossing is one and the same for all daemons: MemAvailable at or below PERCENT of MemTotal,
 * whatever swap there is. The storm is over when that has held no more for QUIET_S, or LIMIT_S after
 * it began. Lines on stdout, times in us, with the kernel's own sum of stalls ("full") in between:
 *
 *	total KIB, began US, sample US AVAILABLE_KIB SWAP_FREE_KIB ..., crossed US, recovered US,
 *	ended US, stalled US
 *
 * It is locked into memory, and prints only when all is over.
 */
#define _GNU_SOURCE
#include <sched.h>

#include "storms.h"

/* While there is plenty, and while there is little. */
#define CALM_US 20000
#define CLOSE_US 5000
#define CLOSE_PERCENT 20
/* A sample is kept when this has changed, or so much time has passed. */
#define KEEP_KIB 256
#define KEEP_US 100000
#define SAMPLES 40000

struct memory {
	int64_t at_us;
	long available_kib, swap_free_kib;
};

static struct memory samples[SAMPLES];
static size_t kept;
static long total_kib;

static long field(const char *text, const char *name)
{
	const char *found = strstr(text, name);

	return found ? strtol(found + strlen(name), NULL, 10) : 0;
}

static const char *contents(int fd)
{
	static char text[4096];
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);

	if (size < 0)
		die("/proc");
	text[size] = 0;
	return text;
}

static long stalled_us(int pressure)
{
	const char *full = strstr(contents(pressure), "full ");

	return full ? field(full, "total=") : 0;
}

static struct memory look(int meminfo)
{
	const char *text = contents(meminfo);
	struct memory seen;

	seen.at_us = now_us();
	total_kib = field(text, "MemTotal:");
	seen.available_kib = field(text, "MemAvailable:");
	seen.swap_free_kib = field(text, "SwapFree:");
	return seen;
}

static void keep(struct memory seen)
{
	struct memory *last = kept ? &samples[kept - 1] : NULL;

	if (kept == SAMPLES)
		return;
	if (last && seen.at_us - last->at_us < KEEP_US &&
	    labs(seen.available_kib - last->available_kib) < KEEP_KIB &&
	    labs(seen.swap_free_kib - last->swap_free_kib) < KEEP_KIB)
		return;
	samples[kept++] = seen;
}

static int below(struct memory seen, long percent)
{
	return seen.available_kib * 100 <= total_kib * percent;
}

int main(int argc, char **argv)
{
	int64_t began_us, crossed_us = 0, recovered_us = 0;
	struct memory seen;

	if (argc != 4) {
		fprintf(stderr, "usage: observer PERCENT QUIET_S LIMIT_S\n");
		return 2;
	}
	long percent = atol(argv[1]);
	int64_t quiet_us = atol(argv[2]) * 1000000LL, limit_us = atol(argv[3]) * 1000000LL;
	int meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	int pressure = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
	struct sched_param first = { .sched_priority = 1 };

	if (meminfo < 0 || pressure < 0)
		die("/proc");
	/* It must see what happens when nobody else gets a turn; it takes a percent of one. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE) || sched_setscheduler(0, SCHED_FIFO, &first))
		die("observer");
	began_us = now_us();
	long stalled_before_us = stalled_us(pressure);
	puts("ready");
	fflush(stdout);
	for (;;) {
		seen = look(meminfo);
		keep(seen);
		if (below(seen, percent)) {
			if (!crossed_us)
				crossed_us = seen.at_us;
			recovered_us = 0;
		} else if (crossed_us && !recovered_us) {
			recovered_us = seen.at_us;
		}
		if (recovered_us && seen.at_us - recovered_us >= quiet_us)
			break;
		if (seen.at_us - began_us >= limit_us)
			break;
		int near = below(seen, CLOSE_PERCENT);
		sleep_until_us(seen.at_us + (near ? CLOSE_US : CALM_US));
	}
	printf("total %ld\nbegan %lld\n", total_kib, (long long)began_us);
	for (size_t i = 0; i < kept; i++)
		printf("sample %lld %ld %ld\n", (long long)samples[i].at_us,
		       samples[i].available_kib, samples[i].swap_free_kib);
	if (crossed_us)
		printf("crossed %lld\n", (long long)crossed_us);
	if (recovered_us)
		printf("recovered %lld\n", (long long)recovered_us);
	printf("ended %lld\n", (long long)seen.at_us);
	printf("stalled %ld\n", stalled_us(pressure) - stalled_before_us);
	return 0;
}
