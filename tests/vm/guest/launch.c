/*
 * launch ADJ COMMAND [ARGUMENT...]: runs a command with another oom_score_adj.
 *
 * What choom does, but static: an emulated machine takes a tenth of a second to link a program,
 * and one that is out of memory has to read the libraries from its disk first.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what, int status)
{
	fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
	return status;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: launch ADJ COMMAND [ARGUMENT...]\n");
		return 2;
	}
	FILE *file = fopen("/proc/self/oom_score_adj", "w");
	if (!file || fputs(argv[1], file) < 0 || fclose(file))
		return fail("oom_score_adj", 2);
	execvp(argv[2], argv + 2);
	/* As a shell says it: not found, or there but not to be run. */
	return fail(argv[2], errno == ENOENT ? 127 : 126);
}
