import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../../src/cluster/fields.ts';
import { atLeast } from '../../src/cni/protocol/version.ts';
import { codeOf, messageOf } from '../../src/error.ts';
import { type Attachment, readAttachment } from '../../src/runtime/cni-cache.ts';
import {
  type AttachmentOptions,
  delNetwork,
  type RuntimeOptions,
  runPlugin,
} from '../../src/runtime/cni-exec.ts';
import { loadConfList } from '../../src/runtime/conf-list.ts';

// CNI operations of a container runtime that a lab does not need.

/** Runs CHECK through the plugins. Does nothing before 0.4.0 or with `disableCheck`. */
export async function checkNetwork(options: AttachmentOptions, signal?: AbortSignal): Promise<void> {
  const configured = options.network ?? loadConfList(options.confDir);
  const cached = readAttachment(options.cacheDir, configured.name, options);
  const network = cached?.network ?? configured;
  if (network.disableCheck || !atLeast(network.cniVersion, '0.4.0')) return;
  for (const plugin of network.plugins) {
    await runPlugin('CHECK', network, plugin, options, cached?.result, signal);
  }
}

/**
 * Runs DEL for every cached attachment of the network that is not valid, then GC with the valid ones. The
 * caller must not run ADD or DEL of this network at the same time, as the specification requires. Continues
 * after errors and throws them together.
 */
export async function gcNetwork(
  options: RuntimeOptions & { readonly valid: readonly Attachment[] },
  signal?: AbortSignal,
): Promise<void> {
  const network = options.network ?? loadConfList(options.confDir);
  const errors: unknown[] = [];
  const attempt = (work: Promise<unknown>): Promise<unknown> => work.catch((error) => errors.push(error));
  const isValid = (a: Attachment): boolean =>
    options.valid.some((b) => a.containerId === b.containerId && a.ifName === b.ifName);
  for (const stale of cachedAttachments(options.cacheDir, network.name)) {
    if (!isValid(stale)) await attempt(delNetwork({ ...options, ...stale, network }, signal));
  }
  if (atLeast(network.cniVersion, '1.1.0') && !network.disableGC) {
    const attachments = options.valid.map((a) => ({ containerID: a.containerId, ifname: a.ifName }));
    // libcni sends the list under the specification's key and under its older one.
    const extra = { 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments };
    for (const plugin of network.plugins) {
      await attempt(
        runPlugin(
          'GC',
          network,
          { ...plugin, ...extra },
          { ...options, ...NO_ATTACHMENT },
          undefined,
          signal,
        ),
      );
    }
  }
  if (errors.length) throw new AggregateError(errors, errors.map(messageOf).join('; '));
}

/** Resolves if every plugin of the network can serve an ADD; otherwise throws the first error. */
export async function statusNetwork(options: RuntimeOptions, signal?: AbortSignal): Promise<void> {
  const network = options.network ?? loadConfList(options.confDir);
  if (!atLeast(network.cniVersion, '1.1.0')) return;
  for (const plugin of network.plugins) {
    await runPlugin('STATUS', network, plugin, { ...options, ...NO_ATTACHMENT }, undefined, signal);
  }
}

const NO_ATTACHMENT = { containerId: '', ifName: '', netns: '' };

/** All cached attachments of a network, with the paths of their namespaces. */
function cachedAttachments(cacheDir: string, network: string): (Attachment & { netns: string })[] {
  const dir = join(cacheDir, 'results');
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
  return names.flatMap((name) => {
    try {
      const entry = new Fields(JSON.parse(readFileSync(join(dir, name), 'utf8')));
      if (entry.string('networkName') !== network) return [];
      const [containerId, ifName] = [entry.string('containerId'), entry.string('ifName')];
      return containerId && ifName ? [{ containerId, ifName, netns: entry.string('netns') ?? '' }] : [];
    } catch {
      return [];
    }
  });
}
