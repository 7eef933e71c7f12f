/*
 * A cache that gives memory back when oomd asks for it, in C99 without any library.
 *
 *     cc -std=c99 -Wall -Wextra -Werror -O2 -o cache cache.c
 *     ./cache NAME MIB [PRIORITY]
 *
 * What it shows of notify.sock: one SOCK_SEQPACKET connection, one JSON object in each datagram,
 * at most 4096 bytes, both ways; the numbers are whole and fit into int64_t. oomd writes its
 * messages without spaces, and these ones without any string that came from somebody else, so
 * that looking for "key": is enough to read them.
 */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 4096, BLOCK_BYTES = 1 << 20, BLOCKS_MAX = 1 << 16 };

/* --- the cache: blocks of 1 MiB that hold nothing of value */

static void *blocks[BLOCKS_MAX];
static int block_count;

static int fill(int count)
{
    while (block_count < count && block_count < BLOCKS_MAX) {
        void *block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
            return -1;
        /* Memory that was never written is no memory. */
        memset(block, 'x', BLOCK_BYTES);
        blocks[block_count++] = block;
    }
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Give back what is wanted, or as much as there is time for. munmap() and not free(): an allocator
 * may keep what it is given. */
static int64_t shrink(int64_t wanted_bytes, int64_t until_ms)
{
    int64_t freed_bytes = 0;
    while (block_count > 0 && freed_bytes < wanted_bytes && now_ms() < until_ms) {
        munmap(blocks[--block_count], BLOCK_BYTES);
        freed_bytes += BLOCK_BYTES;
    }
    return freed_bytes;
}

/* --- the conversation */

static int is(const char *message, const char *op)
{
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"op\":\"%s\"", op);
    return strstr(message, pattern) != NULL;
}

static int64_t number(const char *message, const char *key)
{
    char pattern[64];
    const char *found;
    snprintf(pattern, sizeof pattern, "\"%s\":", key);
    found = strstr(message, pattern);
    return found ? strtoll(found + strlen(pattern), NULL, 10) : 0;
}

static int send_text(int fd, const char *text)
{
    /* MSG_NOSIGNAL: oomd may be gone, and SIGPIPE would take us with it. */
    return send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int connect_to_oomd(void)
{
    const char *path = getenv("OOMD_NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (path == NULL)
        path = "/run/oomd/notify.sock";
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int answer(int fd, const char *message)
{
    char text[128];
    int64_t until_ms = now_ms() + number(message, "deadline_ms") / 2;
    int64_t freed_bytes = shrink(number(message, "wanted_bytes"), until_ms);

    snprintf(text, sizeof text, "{\"op\":\"freed\",\"seq\":%" PRId64 ",\"bytes\":%" PRId64 "}",
             number(message, "seq"), freed_bytes);
    printf("freed %" PRId64 " bytes, %d MiB left\n", freed_bytes, block_count);
    fflush(stdout);
    return send_text(fd, text);
}

/* The next datagram, with an end. Turned away, oomd's last word follows upon ECONNRESET. */
static ssize_t receive(int fd, char *text, size_t size)
{
    ssize_t length = recv(fd, text, size - 1, 0);

    if (length < 0 && errno == ECONNRESET)
        length = recv(fd, text, size - 1, 0);
    if (length >= 0)
        text[length] = '\0';
    return length;
}

/* Until the connection ends. Returns whether to come back. */
static int talk(int fd, const char *name, int priority)
{
    char text[MESSAGE_BYTES + 1];
    snprintf(text, sizeof text,
             "{\"op\":\"register\",\"api\":1,\"name\":\"%s\",\"priority\":%d}", name, priority);
    /* Where that fails, oomd has hung up, and may have said why. */
    send_text(fd, text);
    while (receive(fd, text, sizeof text) > 0) {
        if (is(text, "refused")) {
            fprintf(stderr, "refused: %s\n", text);
            return 0;
        }
        if (is(text, "registered")) {
            printf("registered with priority %" PRId64 "\n", number(text, "priority"));
            fflush(stdout);
        } else if (is(text, "oom") && answer(fd, text) < 0) {
            return 1;
        } /* Anything else is of a later version, and not for us. */
    }
    return 1;
}

int main(int argc, char **argv)
{
    int delay_s = 1;

    if (argc < 3) {
        fprintf(stderr, "usage: cache NAME MIB [PRIORITY]\n");
        return 2;
    }
    if (fill(atoi(argv[2])) < 0) {
        perror("cache");
        return 1;
    }
    /* oomd may not be running yet, or be restarted. */
    for (;;) {
        int fd = connect_to_oomd();
        if (fd >= 0) {
            int again = talk(fd, argv[1], argc > 3 ? atoi(argv[3]) : 0);
            close(fd);
            if (!again)
                return 1;
            delay_s = 1;
        }
        sleep((unsigned)delay_s);
        delay_s = delay_s < 16 ? 2 * delay_s : 30;
    }
}
