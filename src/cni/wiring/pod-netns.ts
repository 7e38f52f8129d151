import { closeSync } from 'node:fs';
import { messageOf } from '../../error.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { netnsId, openNetns } from '../../linux/netns.ts';
import { CniError, CODE } from '../protocol/error.ts';

/** A pod's network namespace, held open, as its path may vanish at any moment. */
export class PodNetns implements Disposable {
  readonly path: string;
  readonly fd: number;
  /** Its inode. */
  readonly id: number;
  /** A route socket inside. */
  readonly link: NetlinkSocket;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
    this.id = netnsId(fd);
    this.link = NetlinkSocket.open(NETLINK_ROUTE, { netns: fd });
  }

  /** Throws CniError 8 if the path is no network namespace, or is the node's own. */
  static open(path: string, nodeNetns: string): PodNetns {
    const netns = openAt(path, (fd) => new PodNetns(path, fd));
    if (netns.id !== netnsId(nodeNetns)) return netns;
    netns[Symbol.dispose]();
    const text = "plugin's netns and netns from CNI_NETNS should not be the same";
    throw new CniError(CODE.INVALID_NETNS, text, `netns "${path}"`);
  }

  /**
   * Like `open`, but undefined if there is no such namespace: DEL and garbage collection go on without it.
   */
  static tryOpen(path: string, nodeNetns: string): PodNetns | undefined {
    try {
      return path ? PodNetns.open(path, nodeNetns) : undefined;
    } catch {
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.link.close();
    closeSync(this.fd);
  }
}

function openAt<T>(path: string, use: (fd: number) => T): T {
  let fd: number | undefined;
  try {
    fd = openNetns(path);
    return use(fd);
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw new CniError(CODE.INVALID_NETNS, `failed to open netns "${path}": ${messageOf(error)}`, '', error);
  }
}

/** The inode of the namespace at a path, or undefined when there is none. */
export function netnsAt(path: string): number | undefined {
  try {
    return netnsId(path);
  } catch {
    return undefined;
  }
}
