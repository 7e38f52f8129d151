// Numbers in network byte order, and sums of the Internet checksum (RFC 1071): added up in the machine's byte order, as they do not
// depend on it.
#pragma once
#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// For a payload: as wide as this processor adds.
uint64_t sum_of_many(const uint8_t *bytes, size_t size);

static inline uint64_t sum_of(const uint8_t *bytes, size_t size) {
    enum { MANY = 256 };
    if (size >= MANY) return sum_of_many(bytes, size);
    uint64_t sum = 0;
    for (; size >= 4; bytes += 4, size -= 4) {
        uint32_t word;
        memcpy(&word, bytes, 4);
        sum += word;
    }
    if (size >= 2) {
        uint16_t half;
        memcpy(&half, bytes, 2);
        sum += half;
        bytes += 2;
        size -= 2;
    }
    return size ? sum + *bytes : sum;
}

static inline uint16_t folded(uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

// For `half` in network byte order, as part of a sum.
static inline uint64_t as_sum(uint32_t half) { return htons((uint16_t)half); }

static inline uint16_t half_at(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t word_at(const uint8_t *at) { return (uint32_t)half_at(at) << 16 | half_at(at + 2); }
static inline void put_half(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}
static inline void put_word(uint8_t *at, uint32_t value) {
    put_half(at, value >> 16);
    put_half(at + 2, value);
}
static inline void put_sum(uint8_t *at, uint64_t sum) {
    uint16_t half = (uint16_t)~folded(sum);
    memcpy(at, &half, 2);
}
