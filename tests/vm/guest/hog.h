/* What the two halves of the hog share. */
#include <stdbool.h>

struct hog_options {
	long mib, pages, rate, children, child_mib, grow_mib, threads, adj, uid;
	unsigned long bind;
	const char *name, *write, *cgroup;
	bool random, forever, hold, share, exit_leader, pgtables, mlock, shmem;
	bool drop_sys_admin, exit_after_ready, grow_on_usr1, userns, has_adj, has_uid;
	bool swap_out, grandchild, vfork;
};

extern struct hog_options opt;

/* One line on stderr with the reason from errno; ends the whole process. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Takes memory until `mib` are held (for ever if negative), no faster than --rate. */
void grow(long mib);

/* So many pages on top of it. */
void take_pages(long pages);

/* Has all that grow() and take_pages() took written to swap. */
void swap_out(void);

/* "WORD PID" on stdout: what whoever started it waits for. */
void say(const char *word, long pid);

void pause_forever(void) __attribute__((noreturn));
void make_child(void);
void make_sharer(void);
void make_thread(void);

/* Does not return: it is the child who says "ready". */
void vfork_forever(void);
