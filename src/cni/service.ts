import type { Problem } from '../problem.ts';
import type { CniContext, CniReply } from './context.ts';
import { roleOf } from './protocol/conf.ts';
import { errorObject } from './protocol/error.ts';
import { type Invocation, readCommand, readInvocation, versionOf } from './protocol/invocation.ts';
import { CURRENT, VERSIONS } from './protocol/version.ts';
import { watchNotedDels } from './records/noted-del.ts';
import { CniState } from './state.ts';
import { add } from './verbs/add.ts';
import { type Adopted, adopt } from './verbs/adopt.ts';
import { check } from './verbs/check.ts';
import { collectGarbage, collectVanished } from './verbs/collect.ts';
import { del } from './verbs/del.ts';
import { gc } from './verbs/gc.ts';
import { loopbackAdd, loopbackCheck, loopbackDel } from './verbs/loopback.ts';
import { runNotedDels } from './verbs/noted.ts';
import { status } from './verbs/status.ts';
import { unrecordedPorts } from './verbs/unrecorded.ts';

/** Milliseconds in which a DEL may follow the end of a pod's namespace. */
const GRACE = 1_000;

/** CNI on one node, served by its agent: one instance for the agent's lifetime. */
export class CniService implements AsyncDisposable {
  readonly #state: CniState;
  readonly #vanished = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #problems: readonly Problem[] = [];
  #unrecorded: readonly Problem[] = [];

  constructor(context: CniContext) {
    this.#state = new CniState(context, () => this.collectGarbage());
  }

  /** Attachments of which it is not known whether they are in use. */
  get problems(): readonly Problem[] {
    const leases = this.#state.context.leases?.problems ?? [];
    return [...this.#problems, ...this.#unrecorded, ...leases];
  }

  /**
   * Answers a plugin call, a `CniRequest`. Never rejects: errors are part of the reply, as specified by CNI.
   */
  async handle(request: { readonly env?: unknown; readonly stdin?: unknown }): Promise<CniReply> {
    const env = variables(request.env);
    const stdin = typeof request.stdin === 'string' ? request.stdin : '';
    this.#state.sweeper.yield();
    try {
      const command = readCommand(env);
      if (command === 'VERSION') return printed({ cniVersion: CURRENT, supportedVersions: VERSIONS }, 0);
      const result = await this.#run(readInvocation(command, env, stdin));
      return result === undefined ? { stdout: '', exit: 0 } : printed(result, 0);
    } catch (error) {
      return printed(errorObject(error, versionOf(stdin)), 1);
    }
  }

  /** Adopts pods of another plugin, from proposed records: see `adopt`. */
  async adopt(proposed: unknown): Promise<Adopted> {
    const adopted = await adopt(proposed, this.#state);
    this.#unrecorded = unrecordedPorts(this.#state);
    return adopted;
  }

  /**
   * Cleans up after crashes, reboots and missed DELs: executes noted DELs, removes incomplete attachments and
   * those whose pod is gone. Called at the agent's start, before it listens, and every few minutes.
   */
  async collectGarbage(): Promise<void> {
    this.#problems = await collectGarbage(this.#state);
    this.#unrecorded = unrecordedPorts(this.#state);
  }

  /**
   * Pods' host devices are gone. Usually their namespace is, and a DEL follows or not (containerd#8303): a
   * moment later, whatever is left is removed.
   */
  devicesVanished(devices: Iterable<string>): void {
    for (const device of devices) this.#vanished.add(device);
    if (this.#vanished.size === 0) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const gone = [...this.#vanished];
      this.#vanished.clear();
      const failed = (error: unknown): void => this.#state.context.warn('removing vanished pods', error);
      collectVanished(gone, this.#state).catch(failed);
    }, GRACE);
  }

  /**
   * Executes noted DELs as soon as they are written, until disposed of. They are also written while the agent
   * is running: before it listens, and when it takes longer to answer than the plugin waits.
   */
  followNotedDels(): Disposable {
    const { context } = this.#state;
    const failed = (error: unknown): void => context.warn('watching for noted DELs', error);
    try {
      const watcher = watchNotedDels(context.stateDir, () => runNotedDels(this.#state).catch(failed));
      watcher.on('error', failed);
      return { [Symbol.dispose]: () => watcher.close() };
    } catch (error) {
      // For example, the kernel's inotify limit: the next garbage collection sees the notes too.
      failed(error);
      return { [Symbol.dispose]: () => undefined };
    }
  }

  /** Waits until the links of deleted pods are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    await this.#state[Symbol.asyncDispose]();
  }

  async #run(call: Invocation): Promise<object | undefined> {
    const state = this.#state;
    switch (call.command) {
      case 'GC':
        return gc(call, state);
      case 'STATUS':
        return status(call, state);
      default:
        return state.locks.run(call.containerId, () => this.#runForContainer(call));
    }
  }

  async #runForContainer(call: Invocation): Promise<object | undefined> {
    const state = this.#state;
    const loopback = roleOf(call.conf) === 'loopback';
    switch (call.command) {
      case 'ADD':
        return loopback ? loopbackAdd(call, state) : add(call, state);
      case 'CHECK':
        return loopback ? loopbackCheck(call, state) : check(call, state);
      default:
        return loopback ? loopbackDel(call, state) : del(call, state);
    }
  }
}

function printed(value: object, exit: number): CniReply {
  return { stdout: `${JSON.stringify(value)}\n`, exit };
}

/**
 * Returns the string values of a request's `env`. Missing variables are reported later, as specified by CNI.
 */
function variables(env: unknown): Readonly<Record<string, string>> {
  const texts = Object.entries(Object(env)).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name, value]] : [],
  );
  return Object.fromEntries(texts);
}
