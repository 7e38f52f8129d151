/** A time as Leases and Events write it, with microseconds: Go accepts no other number of digits. */
export function microTime(time: Date): string {
  return time.toISOString().replace(/(\.\d{3})Z$/, '$1000Z');
}
