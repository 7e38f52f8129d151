#include "settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "die.h"

bool parse_ip(const char *text, ip_t *ip) {
    memset(ip, 0, sizeof *ip);
    ip->family = strchr(text, ':') ? 6 : 4;
    return inet_pton(ip->family == 4 ? AF_INET : AF_INET6, text, ip->bytes) == 1;
}

socklen_t socket_name(const ip_t *ip, int port, struct sockaddr_storage *name) {
    memset(name, 0, sizeof *name);
    if (ip->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)name;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, ip->bytes, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)name;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, ip->bytes, 16);
    return sizeof *in6;
}

static uint32_t hash_of(int family, int length, const uint8_t *bytes) {
    uint32_t hash = 2166136261u ^ (uint32_t)(family << 8 | length);
    for (int i = 0; i < size_of(family); i++) hash = (hash ^ bytes[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static void mask(uint8_t *bytes, int family, int length) {
    for (int i = 0; i < size_of(family); i++) {
        int bits = length - 8 * i;
        if (bits <= 0) bytes[i] = 0;
        else if (bits < 8) bytes[i] &= (uint8_t)(0xff << (8 - bits));
    }
}

static size_t power_for(size_t count) {
    size_t size = 16;
    while (size < 2 * count) size *= 2;
    return size;
}

const route_t *find_route(const settings_t *s, int family, const uint8_t *address) {
    for (int length = 8 * size_of(family); length >= 0; length--) {
        if (!s->lengths[place(family)][length]) continue;
        uint8_t bytes[16] = {0};
        memcpy(bytes, address, size_of(family));
        mask(bytes, family, length);
        for (uint32_t at = hash_of(family, length, bytes);; at++) {
            uint32_t slot = s->route_slots[at & s->route_mask];
            if (slot == 0) break;
            const route_t *route = &s->routes[slot - 1];
            if (route->subnet.family == family && route->length == length &&
                memcmp(route->subnet.bytes, bytes, size_of(family)) == 0)
                return route;
        }
    }
    return NULL;
}

bool is_sender(const settings_t *s, int family, const uint8_t *address) {
    for (uint32_t at = hash_of(family, 0, address);; at++) {
        uint32_t slot = s->sender_slots[at & s->sender_mask];
        if (slot == 0) return false;
        const ip_t *ip = &s->senders[slot - 1];
        if (ip->family == family && memcmp(ip->bytes, address, size_of(family)) == 0) return true;
    }
}

static void *grown(void *array, size_t count, size_t size) {
    if ((count & (count - 1)) != 0) return array;  // full at each power of two
    void *larger = realloc(array, (count ? 2 * count : 1) * size);
    if (!larger) die("out of memory");
    return larger;
}

static void add_sender(settings_t *s, const ip_t *ip) {
    s->senders = grown(s->senders, s->sender_count, sizeof *ip);
    s->senders[s->sender_count++] = *ip;
}

static void index_settings(settings_t *s) {
    size_t routes = power_for(s->route_count), senders = power_for(s->sender_count);
    s->route_slots = calloc(routes, sizeof *s->route_slots);
    s->sender_slots = calloc(senders, sizeof *s->sender_slots);
    if (!s->route_slots || !s->sender_slots) die("out of memory");
    s->route_mask = routes - 1;
    s->sender_mask = senders - 1;
    for (size_t i = 0; i < s->route_count; i++) {
        route_t *route = &s->routes[i];
        mask(route->subnet.bytes, route->subnet.family, route->length);
        s->lengths[place(route->subnet.family)][route->length] = true;
        uint32_t at = hash_of(route->subnet.family, route->length, route->subnet.bytes);
        while (s->route_slots[at & s->route_mask]) at++;
        s->route_slots[at & s->route_mask] = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < s->sender_count; i++) {
        uint32_t at = hash_of(s->senders[i].family, 0, s->senders[i].bytes);
        while (s->sender_slots[at & s->sender_mask]) at++;
        s->sender_slots[at & s->sender_mask] = (uint32_t)i + 1;
    }
}

settings_t *read_settings(const char *folder) {
    char path[512], line[512];
    snprintf(path, sizeof path, "%s/settings", folder);
    FILE *file = fopen(path, "re");
    if (!file) die("%s: %s", path, strerror(errno));
    settings_t *s = calloc(1, sizeof *s);
    if (!s) die("out of memory");
    bool is_whole = false;
    while (fgets(line, sizeof line, file)) {
        char word[32], first[160] = "", second[160] = "";
        if (sscanf(line, "%31s %159s %159s", word, first, second) < 1) continue;
        ip_t ip;
        if (strcmp(word, "end") == 0) is_whole = true;
        else if (strcmp(word, "device") == 0) snprintf(s->device, sizeof s->device, "%.15s", first);
        else if (strcmp(word, "port") == 0) s->port = atoi(first);
        else if (strcmp(word, "local") == 0 && parse_ip(first, &ip)) s->local[place(ip.family)] = ip;
        else if (strcmp(word, "router") == 0 && parse_ip(first, &ip)) s->router[place(ip.family)] = ip;
        else if (strcmp(word, "sender") == 0 && parse_ip(first, &ip)) add_sender(s, &ip);
        else if (strcmp(word, "route") == 0) {
            char *slash = strchr(first, '/');
            route_t route = {.length = slash ? (uint8_t)atoi(slash + 1) : 0};
            if (!slash) continue;
            *slash = 0;
            if (!parse_ip(first, &route.subnet) || !parse_ip(second, &route.node)) continue;
            if (route.length > 8 * size_of(route.subnet.family)) continue;
            s->routes = grown(s->routes, s->route_count, sizeof route);
            s->routes[s->route_count++] = route;
            add_sender(s, &route.node);
        }
    }
    fclose(file);
    if (!is_whole || s->device[0] == 0 || s->port < 1 || s->port > 65535) die("%s is cut off or names no device or port", path);
    for (size_t i = 0; i < s->route_count; i++)
        s->routes[i].name_size = socket_name(&s->routes[i].node, s->port, &s->routes[i].name);
    index_settings(s);
    return s;
}

void free_settings(settings_t *s) {
    free(s->routes);
    free(s->senders);
    free(s->route_slots);
    free(s->sender_slots);
    free(s);
}
