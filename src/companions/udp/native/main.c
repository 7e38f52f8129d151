// The forwarder of the backend udp, in C for speed: forwarder/ is the same in TypeScript, and says why each thing is done.
//   flatnet-udp FOLDER VERSION
// Reads FOLDER/settings; takes orders (`change`, `yield`, `stop`) at FOLDER/orders.PID; writes FOLDER/running once it carries packets,
// and FOLDER/counters.json about once a second. Ends with a line on standard error if it cannot go on.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "die.h"
#include "forwarder.h"
#include "handover.h"

enum {
    ROUNDS = 1000,  // bursts that are carried before a socket is closed: in a flood there are always more
    IDLE = 1000,    // milliseconds
};

settings_t *settings;
int tun = -1, sockets[2] = {-1, -1}, raw[2] = {-1, -1};
struct counters counters;

static const char *folder, *version;
static int orders = -1;

double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1000 + (double)time.tv_nsec / 1e6;
}

// Moves to the settings' addresses. What has come to the former ones is carried: as nobody sends there any more, nothing is lost.
static void renew_sockets(void) {
    for (int i = 0; i < 2; i++) {
        int former = sockets[i];
        if (former >= 0 && is_where_it_should_be(former, i)) continue;
        sockets[i] = open_socket(i);
        if (former < 0) continue;
        for (int round = 0; round < ROUNDS && receive_burst(former, i ? 6 : 4); round++) {}
        close(former);
    }
}

static void change(void) {
    settings_t *former = settings;
    settings = read_settings(folder);
    renew_sockets();
    free_settings(former);
}

static void replace(const char *name, const char *text) {
    char path[512], next[544];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(next, sizeof next, "%s.%d", path, (int)getpid());
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t size = strlen(text);
    bool is_written = fd >= 0 && write(fd, text, size) == (ssize_t)size;
    if (fd >= 0) close(fd);
    if (is_written && rename(next, path) == 0) return;
    int error = errno;
    unlink(next);
    if (strcmp(name, "running") == 0) die("%s: %s", path, strerror(error));
}

static void tell_counters(void) {
    static char told[512];
    char text[512];
    snprintf(text, sizeof text,
             "{\"sent\":%lu,\"received\":%lu,\"strangers\":%lu,\"malformed\":%lu,\"unroutable\":%lu,\"expired\":%lu,\"failed\":%lu}",
             counters.sent, counters.received, counters.strangers, counters.malformed, counters.unroutable, counters.expired,
             counters.failed);
    if (strcmp(text, told) == 0) return;
    replace("counters.json", text);
    strcpy(told, text);
}

static char orders_path[108];

static void open_orders(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int size = snprintf(orders_path, sizeof orders_path, "%s/orders.%d", folder, (int)getpid());
    if (size >= (int)sizeof name.sun_path) die("%s: too long for a socket's path", folder);
    memcpy(name.sun_path, orders_path, (size_t)size + 1);
    unlink(orders_path);
    orders = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (orders < 0 || bind(orders, (struct sockaddr *)&name, sizeof name) < 0) die("%s: %s", orders_path, strerror(errno));
}

// Returns whether to end.
static bool obey(void) {
    char order[64];
    struct sockaddr_un sender;
    for (;;) {
        socklen_t size = sizeof sender;
        ssize_t length = recvfrom(orders, order, sizeof order - 1, MSG_DONTWAIT, (struct sockaddr *)&sender, &size);
        if (length < 0) return false;
        order[length] = 0;
        if (strcmp(order, "change") == 0) change();
        else if (strcmp(order, "yield") == 0) {
            hand_over(orders, &sender, size);
            return true;
        } else if (strcmp(order, "stop") == 0) return true;
        // Anything else is an answer that came too late.
    }
}

int main(int count, char **words) {
    if (count != 3) die("usage: flatnet-udp FOLDER VERSION");
    folder = words[1];
    version = words[2];
    settings = read_settings(folder);
    for (int i = 0; i < 2; i++) raw[i] = socket(i ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
    open_orders();
    take_over(folder, orders);
    if (tun < 0) open_tun();
    renew_sockets();
    char running[128];
    snprintf(running, sizeof running, "%d %s\n", (int)getpid(), version);
    replace("running", running);
    for (double told_at = 0; !obey();) {
        // Each system call that finds nothing would be a part of every round trip.
        struct pollfd fds[] = {{tun, POLLIN, 0}, {sockets[0], POLLIN, 0}, {sockets[1], POLLIN, 0}, {orders, POLLIN, 0}};
        do {
            if (fds[0].revents) send_burst();
            for (int i = 0; i < 2; i++)
                if (fds[1 + i].revents) receive_burst(sockets[i], i ? 6 : 4);
            fds[0].fd = tun;
            if (now() - told_at < IDLE) continue;
            told_at = now();
            tell_counters();
        } while (poll(fds, 4, IDLE) >= 0 && !fds[3].revents);
    }
    unlink(orders_path);
    return 0;
}
