import { NetlinkSocket } from '../../src/linux/netlink/socket.ts';

export type Requests = { changes: number; dumps: number };

/** Counts what this process asks of the kernel by netlink from now on. */
export function countRequests(): Requests {
  const counts = { changes: 0, dumps: 0 };
  const { executeAll, dump } = NetlinkSocket.prototype;
  NetlinkSocket.prototype.executeAll = function (requests) {
    counts.changes += requests.length;
    return executeAll.call(this, requests);
  };
  NetlinkSocket.prototype.dump = function <T>(request: Parameters<typeof dump<T>>[0]) {
    counts.dumps++;
    return dump.call(this, request) as Promise<T[]>;
  };
  return counts;
}
