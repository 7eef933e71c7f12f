/* What the two halves of the hog share. */
#include <stdbool.h>

struct hog_options {
	long mib, rate, children, child_mib, adj, uid;
	const char *name, *write;
	bool random, forever, hold, share, exit_leader, pgtables, mlock, shmem;
	bool drop_sys_admin, exit_after_ready, grow_on_usr1, userns, has_adj, has_uid;
};

extern struct hog_options opt;

/* One line on stderr with the reason from errno; ends the whole process. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Takes memory until `mib` are held (for ever if negative), no faster than --rate. */
void grow(long mib);
