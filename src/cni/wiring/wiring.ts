import type { LocalPod, PodIdentity } from '../../cluster/node.ts';
import type { Mac } from '../../ip/mac.ts';
import type { Link } from '../../linux/link/link.ts';
import type { Addresses, AddressSource, PodAddress } from '../addresses/source.ts';
import type { CniContext } from '../context.ts';
import type { RequestedMac } from '../protocol/conf.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Dns, IpConfig, Result } from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import type { PodNetns } from './pod-netns.ts';

/**
 * One way to connect pods to their node, the imperative half: what ADD creates, CHECK verifies and DEL
 * removes. The kernel state the agent maintains for it is described by the pure half of the same name in
 * `src/wiring/`.
 */
export interface Wiring {
  /**
   * Plans a call, validating it before anything is created. Throws CONFIG_INVALID naming the field, and
   * CniError 2 for features this wiring does not support.
   */
  plan(call: Invocation, context: CniContext): WiringPlan;
  /**
   * The attachment's link that shows whether it lives, if it still belongs to this attachment: the host end
   * or, where there is none, the pod's own interface.
   */
  link(record: Attachment, state: CniState): Link | undefined;
  /** Removes what ADD made, or takes it out of service at once and removes it soon. */
  remove(record: Attachment, state: CniState): void;
  /** The host ends of an attachment whose record is lost or damaged. */
  strayLinks(key: AttachmentKey, state: CniState): readonly Link[];
  /**
   * Checks the node's side for CHECK: throws CniError 999 naming what is missing or wrong. The pod's
   * interface has already been compared with the result, and `inside` and `outside` are known to be a pair if
   * there is a host end.
   */
  check(attachment: CheckedAttachment, state: CniState): void;
}

/** The plan for one ADD. */
export type WiringPlan = {
  /** The wiring depends on devices of the agent: ADD fails until the agent is ready. */
  readonly needsAgent: boolean;
  /** Undefined: the interface gets no addresses. */
  readonly addresses: AddressSource | undefined;
  /** From the configuration; if empty, the address source's applies. */
  readonly dns: Dns;
  /** The record's fields about the wiring. */
  readonly record: Pick<Attachment, 'bridge' | 'hairpin' | 'managed' | 'wiring'>;
  /** The MAC that the pod's interface is to have. */
  readonly mac: RequestedMac | undefined;
  /** Name of the host end: the same at every try, so that leftovers of a crash are found. Absent: none. */
  hostDevice(key: AttachmentKey, pod: PodIdentity): string | undefined;
  /**
   * Creates the interface before it has addresses, so that it can ask for some. Absent: `attach` creates it.
   */
  prepare?(pod: Omit<NewPod, 'addresses'>, state: CniState): Promise<void>;
  /** Creates the interface and everything it needs on the node. Resolves when it passes packets. */
  attach(pod: NewPod, state: CniState): Promise<Attached>;
};

/** A pod interface to be created. */
export type NewPod = {
  readonly key: AttachmentKey;
  readonly identity: PodIdentity;
  readonly netns: PodNetns;
  readonly hostDevice?: string | undefined;
  readonly addresses: Addresses;
};

/** The created interface, as reported in the result. */
export type Attached = Pick<Result, 'interfaces' | 'routes'> & {
  readonly ips: readonly (IpConfig & PodAddress)[];
  /** Bytes. */
  readonly mtu: number;
  /** Of the pod's interface. */
  readonly mac: Mac;
};

export type CheckedAttachment = {
  readonly record: Attachment;
  /** The record as the agent sees it. */
  readonly pod: LocalPod;
  readonly inside: Link;
  /** Absent: the wiring has no host end. */
  readonly outside?: Link;
  readonly netns: PodNetns;
  /** The whole chain's result. */
  readonly result: Result;
};
