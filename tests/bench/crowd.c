/* crowd N: N processes that sleep, as small as they can be, until standard input ends.
 *
 * Prints how many there are. They die with their parent, too, whatever ends it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int wanted = argc > 1 ? atoi(argv[1]) : 0, count = 0;
	pid_t *pids = calloc(wanted + 1, sizeof *pids);
	char byte;

	if (pids == NULL)
		return 1;
	for (; count < wanted; count++) {
		pids[count] = fork();
		if (pids[count] < 0)
			break;
		if (pids[count] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(0);
			close(1);
			for (;;)
				pause();
		}
	}
	printf("%d\n", count);
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	for (int i = 0; i < count; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < count; i++)
		waitpid(pids[i], NULL, 0);
	return count == wanted ? 0 : 1;
}
