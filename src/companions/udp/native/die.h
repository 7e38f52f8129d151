#pragma once

// Ends the process with a line on standard error.
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
