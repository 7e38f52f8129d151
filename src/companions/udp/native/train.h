#pragma once
#include <stddef.h>
#include <stdint.h>

#include "settings.h"

// Datagrams that wait to be sent in one call: of one size, but for the last, which may be shorter, and to one node.

// Returns room for the header of the next one, of `size` bytes in all; sends those before it that do not go with it.
uint8_t *train_room(int fd, const route_t *route, size_t size);
// Adds it: the header, and a payload that stays where it is until `send_train`.
void train_add(size_t header, const uint8_t *payload, size_t size);
void send_train(void);
