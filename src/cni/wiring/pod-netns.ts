import { closeSync } from 'node:fs';
import { messageOf } from '../../error.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { netnsId, openNetns } from '../../linux/netns.ts';
import { CniError, CODE } from '../protocol/error.ts';

/** The namespace of an attachment: its path, and the inode it had then. */
type Known = { readonly netns: string; readonly netnsId?: number };

/** A pod's network namespace, held open because its path may vanish at any time. */
export class PodNetns implements Disposable {
  readonly path: string;
  readonly fd: number;
  /** The namespace's inode. */
  readonly id: number;
  /** An rtnetlink socket inside the namespace. */
  readonly link: NetlinkSocket;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
    this.id = netnsId(fd);
    this.link = NetlinkSocket.open(NETLINK_ROUTE, { netns: fd, isBrief: true });
  }

  /** Throws CniError 8 if the path is not a network namespace or is the node's own. */
  static open(path: string, nodeNetns: string): PodNetns {
    const netns = openAt(path, (fd) => new PodNetns(path, fd));
    if (netns.id !== netnsId(nodeNetns)) return netns;
    netns[Symbol.dispose]();
    const text = "plugin's netns and netns from CNI_NETNS should not be the same";
    throw new CniError(CODE.INVALID_NETNS, text, `netns "${path}"`);
  }

  /** Like `open`, but returns undefined on failure: DEL and garbage collection continue without it. */
  static tryOpen(path: string, nodeNetns: string): PodNetns | undefined {
    try {
      return path ? PodNetns.open(path, nodeNetns) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Opens an attachment's namespace. Throws CniError 8 if its path names another one by now. */
  static openKnown({ netns: path, netnsId: id }: Known, nodeNetns: string): PodNetns {
    const netns = PodNetns.open(path, nodeNetns);
    if (netns.id === id) return netns;
    netns[Symbol.dispose]();
    const text = `"${path}" is another network namespace now`;
    throw new CniError(CODE.INVALID_NETNS, text, `its inode is ${netns.id}, not ${id}`);
  }

  /** Like `openKnown`, but returns undefined on failure. */
  static tryOpenKnown(known: Known, nodeNetns: string): PodNetns | undefined {
    try {
      return known.netns ? PodNetns.openKnown(known, nodeNetns) : undefined;
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

/** Returns the inode of the namespace at a path; undefined when there is none. */
export function netnsAt(path: string): number | undefined {
  try {
    return netnsId(path);
  } catch {
    return undefined;
  }
}
