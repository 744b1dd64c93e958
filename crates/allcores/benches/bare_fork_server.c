/* What a fork server costs at least: a process forks children on request, one ahead, and passes on their pidfds and sockets; the
 * one that starts them sends 200 bytes, waits for the end, and reads 8. Prints the microseconds of a start, median and least of
 * seven rounds.
 *
 *     cc -O2 -o /tmp/bare bare_fork_server.c -lpthread && /tmp/bare 800 40    # starts in a round, written pages of the server
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void *idle(void *none) {
    pause();
    return none;
}

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(2 * sizeof(int))];
};

static void send_two(int socket, const int *fds) {
    char byte = 1;
    union control control;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), fds, 2 * sizeof(int));
    if (sendmsg(socket, &message, 0) < 1) _exit(1);
}

static void receive_two(int socket, int *fds) {
    char byte;
    union control control;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 1) exit(1);
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
}

static void serve(int requests, size_t pages) {
    pthread_t second;
    pthread_create(&second, NULL, idle, NULL);
    char *memory = mmap(NULL, pages * 4096 + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, pages * 4096);
    char request[8], orders[256];
    while (read(requests, request, sizeof request) > 0) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) _exit(1);
        signal(SIGCHLD, SIG_DFL);
        pid_t child = fork();
        if (child == 0) {
            close(requests);
            if (read(pair[1], orders, sizeof orders) > 0 && write(pair[1], orders, 8) != 8) _exit(1);
            _exit(0);
        }
        int both[2] = {syscall(SYS_pidfd_open, child, 0), pair[0]};
        send_two(requests, both);
        signal(SIGCHLD, SIG_IGN); /* the kernel collects it from here on */
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
        close(both[0]), close(pair[0]), close(pair[1]);
    }
    _exit(0);
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

int main(int count, char **arguments) {
    int starts = count > 1 ? atoi(arguments[1]) : 800, requests[2];
    size_t pages = count > 2 ? atoi(arguments[2]) : 40;
    char bytes[200] = {0};
    double rounds[7];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, requests)) return 1;
    if (fork() == 0) {
        close(requests[0]);
        serve(requests[1], pages);
    }
    close(requests[1]);
    if (write(requests[0], bytes, 1) != 1) return 1;
    for (int round = 0; round < 7; round++) {
        double begin = now();
        for (int start = 0; start < starts; start++) {
            int child[2];
            receive_two(requests[0], child);
            if (write(child[1], bytes, sizeof bytes) != sizeof bytes) return 1;
            if (write(requests[0], bytes, 1) != 1) return 1;
            struct pollfd end = {child[0], 0, 0}; /* a hang-up: it has been collected */
            poll(&end, 1, -1);
            if (read(child[1], bytes, 8) != 8) return 1;
            close(child[0]), close(child[1]);
        }
        rounds[round] = (now() - begin) / starts;
    }
    qsort(rounds, 7, sizeof *rounds, by_size);
    printf("median %.1f, least %.1f\n", rounds[3], rounds[0]);
    return 0;
}
