import type { LocalPod, PodIdentity } from '../../cluster/node.ts';
import type { Link } from '../../linux/link/link.ts';
import type { Addresses, AddressSource, PodAddress } from '../addresses/source.ts';
import type { CniContext } from '../context.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Dns, IpConfig, Result } from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import type { PodNetns } from './pod-netns.ts';

/**
 * One way to connect pods to their node, the doing half: what ADD makes, CHECK looks at and DEL removes. What
 * the agent keeps in the node's kernel for it is the pure half of the same name in `src/wiring/`.
 */
export interface Wiring {
  /**
   * What a call asks for, checked before anything is made. Throws CONFIG_INVALID naming the field, and
   * CniError 2 for what this wiring does not do.
   */
  plan(call: Invocation, context: CniContext): WiringPlan;
  /** The host's end of the attachment, if it is there and still belongs to this attachment. */
  hostLink(record: Attachment, state: CniState): Link | undefined;
  /** The host's ends of an attachment whose record is lost or damaged. */
  strayLinks(key: AttachmentKey, state: CniState): readonly Link[];
  /**
   * CHECK of the node's side: throws CniError 999 naming what is missing or wrong. The pod's interface has
   * been compared with the result, and `inside` and `outside` are known to be one pair.
   */
  check(attachment: CheckedAttachment, state: CniState): void;
}

/** What one ADD is going to do. */
export type WiringPlan = {
  /** What pods hang on is the agent's own: an ADD waits until the agent is ready. */
  readonly needsAgent: boolean;
  /** Undefined: the interface gets no addresses. */
  readonly addresses: AddressSource | undefined;
  /** Of the configuration; empty: that of the addresses counts. */
  readonly dns: Dns;
  /** What the record says of the wiring. */
  readonly record: Pick<Attachment, 'bridge' | 'hairpin' | 'managed' | 'wiring'>;
  /** The name of the host's end: the same at every try, so that whatever a crash leaves is found. */
  hostDevice(key: AttachmentKey, pod: PodIdentity): string;
  /** Makes the interface and all it needs on the node. Resolves when it carries packets. */
  attach(pod: NewPod, state: CniState): Promise<Attached>;
};

/** A pod's interface to be made. */
export type NewPod = {
  readonly key: AttachmentKey;
  readonly identity: PodIdentity;
  readonly netns: PodNetns;
  readonly hostDevice: string;
  readonly addresses: Addresses;
};

/** What was made, as the result tells it. */
export type Attached = Pick<Result, 'interfaces' | 'routes'> & {
  readonly ips: readonly (IpConfig & PodAddress)[];
  /** Bytes. */
  readonly mtu: number;
};

export type CheckedAttachment = {
  readonly record: Attachment;
  /** The record as the agent sees it. */
  readonly pod: LocalPod;
  readonly inside: Link;
  readonly outside: Link;
  readonly netns: PodNetns;
  /** Of the whole chain. */
  readonly result: Result;
};
