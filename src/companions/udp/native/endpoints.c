// The TUN device and the sockets to which other nodes send.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "die.h"
#include "forwarder.h"

// linux/if_tun.h, which musl's compiler does not find.
#define TUNSETIFF 0x400454ca
#define TUNSETPERSIST 0x400454cb
#define TUNSETOFFLOAD 0x400454d0
enum { IFF_TUN = 0x0001, IFF_MULTI_QUEUE = 0x0100, IFF_NO_PI = 0x1000, IFF_VNET_HDR = 0x4000 };
enum { TUN_F_CSUM = 0x01, TUN_F_TSO4 = 0x02, TUN_F_TSO6 = 0x04, TUN_F_USO4 = 0x20, TUN_F_USO6 = 0x40 };

enum { SOCKET_BUFFER = 7 << 20 };

void open_tun(void) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) die("/dev/net/tun: %s", strerror(errno));
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", settings->device);
    if (ioctl(fd, TUNSETIFF, &request) < 0) die("%s: %s", settings->device, strerror(errno));
    ioctl(fd, TUNSETPERSIST, 1);
    unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    if (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) < 0 && ioctl(fd, TUNSETOFFLOAD, offloads) < 0)
        die("%s: offloads: %s", settings->device, strerror(errno));
    if (tun >= 0) close(tun);
    tun = fd;
}

static void set(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof value) < 0) die("setsockopt %d %d: %s", level, name, strerror(errno));
}

int open_socket(int place) {
    const ip_t *local = &settings->local[place];
    if (local->family == 0) return -1;
    bool is_ipv4 = local->family == 4;
    int fd = socket(is_ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    int buffer = SOCKET_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) < 0) set(fd, SOL_SOCKET, SO_RCVBUF, buffer);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) < 0) set(fd, SOL_SOCKET, SO_SNDBUF, buffer);
    if (is_ipv4) set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    else set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (is_ipv4) set(fd, IPPROTO_IP, IP_FREEBIND, 1);
    else set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
    set(fd, SOL_UDP, UDP_GRO, 1);
    struct sockaddr_storage name;
    socklen_t size = socket_name(local, settings->port, &name);
    if (bind(fd, (struct sockaddr *)&name, size) < 0) die("bind to port %d: %s", settings->port, strerror(errno));
    return fd;
}

bool is_where_it_should_be(int fd, int place) {
    const ip_t *local = &settings->local[place];
    struct sockaddr_storage is = {0}, should_be;
    socklen_t size = sizeof is;
    if (local->family == 0 || getsockname(fd, (struct sockaddr *)&is, &size) < 0) return false;
    socket_name(local, settings->port, &should_be);
    return memcmp(&is, &should_be, size) == 0;
}
