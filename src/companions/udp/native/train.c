#define _GNU_SOURCE
#include "train.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "forwarder.h"

enum {
    MOST_SEGMENTS = 64,  // UDP_MAX_SEGMENTS
    MOST_BYTES = 65507,
};

static bool can_segment = true;

static struct {
    int fd, count;
    const route_t *route;
    size_t segment, bytes;
    bool is_complete;  // the last one is shorter
    struct iovec vectors[2 * MOST_SEGMENTS];
    uint8_t headers[MOST_SEGMENTS][HEADERS];
} train;

static void send_part(int first, int count) {
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control = {0};
    struct msghdr message = {
        .msg_name = (void *)&train.route->name,
        .msg_namelen = train.route->name_size,
        .msg_iov = train.vectors + 2 * first,
        .msg_iovlen = (size_t)(2 * count),
    };
    if (count > 1) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        uint16_t size = (uint16_t)train.segment;
        memcpy(CMSG_DATA(header), &size, sizeof size);
    }
    if (sendmsg(train.fd, &message, MSG_DONTWAIT) >= 0) counters.sent += (unsigned long)count;
    else if (count > 1 && (errno == EIO || errno == EINVAL || errno == EMSGSIZE)) {
        if (errno == EIO) can_segment = false;
        for (int i = 0; i < count; i++) send_part(first + i, 1);
    } else counters.failed += (unsigned long)count;
}

void send_train(void) {
    if (train.count) send_part(0, train.count);
    train.count = 0;
}

uint8_t *train_room(int fd, const route_t *route, size_t size) {
    bool fits = train.count < MOST_SEGMENTS && can_segment && !train.is_complete && train.fd == fd && train.route == route &&
                size <= train.segment && train.bytes + size <= MOST_BYTES;
    if (train.count && !fits) send_train();
    if (train.count == 0) {
        train.fd = fd;
        train.route = route;
        train.segment = size;
        train.bytes = 0;
    }
    return train.headers[train.count];
}

void train_add(size_t header, const uint8_t *payload, size_t size) {
    struct iovec *vectors = train.vectors + 2 * train.count;
    vectors[0] = (struct iovec){train.headers[train.count], header};
    vectors[1] = (struct iovec){(void *)payload, size};
    train.is_complete = header + size < train.segment;
    train.bytes += header + size;
    train.count++;
}
