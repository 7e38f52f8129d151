#define _GNU_SOURCE
#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "forwarder.h"

enum {
    MOST = 3,                // descriptors
    ANSWERED_WITHIN = 5000,  // milliseconds; until it answers, the other one carries on
    SLICE = 20,
};

typedef union {
    char bytes[CMSG_SPACE(MOST * sizeof(int))];
    struct cmsghdr align;
} rights_t;

// In the text that goes with the descriptors, a letter stands for each.
static const char NAMES[] = "t46";

static int *descriptor_of(char name) { return name == 't' ? &tun : name == '4' ? &sockets[0] : name == '6' ? &sockets[1] : NULL; }

static bool is_here(int pid) {
    char path[64], there[64] = "", here[64] = "";
    snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
    return readlink(path, there, sizeof there - 1) > 0 && readlink("/proc/self/ns/net", here, sizeof here - 1) > 0 &&
           strcmp(there, here) == 0;
}

static int running_pid(const char *folder) {
    char path[512];
    int pid = 0;
    snprintf(path, sizeof path, "%s/running", folder);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    if (fscanf(file, "%d", &pid) != 1) pid = 0;
    fclose(file);
    return pid;
}

static void receive(int orders) {
    char text[MOST + 1];
    rights_t rights;
    struct iovec vector = {text, sizeof text - 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes};
    ssize_t size = recvmsg(orders, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = size > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return;
    int fds[sizeof rights.bytes / sizeof(int)], count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(header), (size_t)count * sizeof(int));
    for (int i = 0; i < count; i++) {
        int *place = i < size ? descriptor_of(text[i]) : NULL;
        if (place) *place = fds[i];
        else close(fds[i]);
    }
}

void take_over(const char *folder, int orders) {
    int pid = running_pid(folder);
    if (pid <= 0 || pid == (int)getpid() || !is_here(pid)) return;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int size = snprintf(name.sun_path, sizeof name.sun_path, "%s/orders.%d", folder, pid);
    if (size >= (int)sizeof name.sun_path) return;
    static const char ORDER[] = "yield";
    if (sendto(orders, ORDER, sizeof ORDER - 1, MSG_DONTWAIT, (struct sockaddr *)&name, sizeof name) < 0) return;
    for (int waited = 0; waited < ANSWERED_WITHIN && is_here(pid); waited += SLICE) {
        struct pollfd answer = {orders, POLLIN, 0};
        if (poll(&answer, 1, SLICE) == 1) break;
    }
    receive(orders);
}

void hand_over(int orders, const struct sockaddr_un *to, socklen_t size) {
    char text[MOST];
    int count = 0, fds[MOST];
    for (const char *name = NAMES; *name; name++) {
        if (*descriptor_of(*name) < 0) continue;
        text[count] = *name;
        fds[count++] = *descriptor_of(*name);
    }
    rights_t rights = {0};
    struct iovec vector = {text, (size_t)count};
    struct msghdr message = {
        .msg_name = (void *)to,
        .msg_namelen = size,
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = rights.bytes,
        .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
    if (sendmsg(orders, &message, MSG_DONTWAIT) < 0) fprintf(stderr, "flatnet-udp: hand over: %s\n", strerror(errno));
}
