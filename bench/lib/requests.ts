import { NetlinkSocket } from '../../src/linux/netlink/socket.ts';

/**
 * Calls `onCount` with the number of netlink requests whenever this process sends any; a dump counts as one.
 */
export function onRequests(onCount: (count: number) => void): void {
  const { executeAll, executeAllSync, dump, dumpSync } = NetlinkSocket.prototype;
  Object.assign(NetlinkSocket.prototype, {
    executeAll(this: NetlinkSocket, requests: Parameters<typeof executeAll>[0]) {
      onCount(requests.length);
      return executeAll.call(this, requests);
    },
    executeAllSync(this: NetlinkSocket, requests: Parameters<typeof executeAllSync>[0]) {
      onCount(requests.length);
      return executeAllSync.call(this, requests);
    },
    dump<T>(this: NetlinkSocket, request: Parameters<typeof dump<T>>[0]) {
      onCount(1);
      return dump.call(this, request);
    },
    dumpSync<T>(this: NetlinkSocket, request: Parameters<typeof dumpSync<T>>[0]) {
      onCount(1);
      return dumpSync.call(this, request);
    },
  });
}
