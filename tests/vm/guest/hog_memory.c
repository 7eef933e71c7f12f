/* How the hog takes memory; hog.c says when. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hog.h"

#define MIB (1024UL * 1024)
#define PAGE 4096UL
/* What one page-table page maps: touching one page in each makes tables and nothing else. */
#define PMD_SPAN (2 * MIB)

/* Something that zram cannot squeeze: every word of every page differs. */
static void fill_random(uint64_t *page)
{
	static __thread uint64_t state;

	if (!state)
		state = 0x9e3779b97f4a7c15ULL ^ ((uint64_t)getpid() << 32) ^ (uintptr_t)page;
	for (size_t i = 0; i < PAGE / sizeof(*page); i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		page[i] = state;
	}
}

/* What is held, so that it can be swapped out: the last of so many mappings. */
#define MAPPINGS_KNOWN 4096
static struct {
	char *memory;
	size_t size;
} mappings[MAPPINGS_KNOWN];
static size_t mappings_made;

static void take(size_t size)
{
	int flags = MAP_ANONYMOUS | (opt.shmem ? MAP_SHARED : MAP_PRIVATE);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap of %zu bytes", size);
	mappings[mappings_made % MAPPINGS_KNOWN].memory = memory;
	mappings[mappings_made++ % MAPPINGS_KNOWN].size = size;
	for (size_t at = 0; at < size; at += PAGE) {
		if (opt.random)
			fill_random((uint64_t *)(memory + at));
		else
			*(volatile uintptr_t *)(memory + at) = (uintptr_t)memory + at;
	}
}

/*
 * One MiB of page tables: reading an untouched page maps the shared zero page, so that nothing
 * is resident but the table that says so. Huge pages would need no table.
 */
static void take_mib_of_pgtables(void)
{
	size_t span = MIB / PAGE * PMD_SPAN;
	int flags = MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE;
	volatile char *memory = mmap(NULL, span, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap of %zu MiB without reserve", span / MIB);
	if (madvise((void *)memory, span, MADV_NOHUGEPAGE))
		die("madvise");
	for (size_t at = 0; at < span; at += PMD_SPAN)
		(void)memory[at];
}

/* Takes memory until `mib` are held (for ever if negative), no faster than --rate. */
void grow(long mib)
{
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (long taken = 0; mib < 0 || taken < mib; taken++) {
		if (opt.pgtables)
			take_mib_of_pgtables();
		else
			take(MIB);
		if (!opt.rate)
			continue;
		next.tv_nsec += 1000000000L / opt.rate;
		next.tv_sec += next.tv_nsec / 1000000000L;
		next.tv_nsec %= 1000000000L;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}

void take_pages(long pages)
{
	if (pages)
		take(pages * PAGE);
}

void swap_out(void)
{
	size_t known = mappings_made < MAPPINGS_KNOWN ? mappings_made : MAPPINGS_KNOWN;

	for (size_t i = 0; i < known; i++)
		if (madvise(mappings[i].memory, mappings[i].size, MADV_PAGEOUT))
			die("madvise");
}
