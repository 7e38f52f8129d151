import { messageOf } from '../error.ts';
import type { MonitorEvent } from '../linux/event.ts';
import { Monitor } from '../linux/monitor.ts';
import { NftMonitor } from '../linux/nftables/monitor.ts';
import type { Log } from '../log.ts';
import { contradiction } from './contradiction.ts';
import type { KernelState } from './item.ts';
import type { Kernel } from './kernel.ts';
import type { Resolve } from './miss.ts';
import { OUR_TABLE } from './ownership.ts';

export type WatchOptions = {
  readonly netns: string | number | undefined;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly kernel: Kernel;
  readonly desired: () => KernelState;
  readonly onContradiction: (what: string) => void;
  /** Somebody changed a table of nftables that is not ours. */
  readonly onForeignTable: () => void;
  readonly resolve: Resolve | undefined;
};

/** Listens to the kernel from the moment it is called until the signal aborts. */
export async function watchKernel(options: WatchOptions): Promise<void> {
  const { netns, signal, kernel, desired, onContradiction, onForeignTable, log } = options;
  const monitor = Monitor.open({ netns, signal });
  const nftMonitor = NftMonitor.open({ netns, signal });
  const onEvent = (event: MonitorEvent): void => {
    if (event.type === 'miss') {
      onMiss(options, event).catch((error: unknown) => {
        log.warn({ error: messageOf(error) }, 'a miss was not answered');
      });
      return;
    }
    const what = contradiction(event, desired(), kernel);
    if (what !== undefined) onContradiction(what);
  };
  await Promise.all([
    monitor.run(onEvent),
    nftMonitor.run((event) => {
      if (event.type === 'overflow') {
        onForeignTable();
        onContradiction('notifications were lost');
        return;
      }
      for (const { family, table } of event.tables) {
        if (table !== OUR_TABLE) onForeignTable();
        // Whole tables that we write too: only the fingerprint tells them from others', and they are rare.
        else if (event.portId !== kernel.nftables.portId) onContradiction(`nft table ${family} ${table}`);
      }
    }),
  ]);
}

async function onMiss(
  { resolve, kernel }: WatchOptions,
  { ip, mac }: Extract<MonitorEvent, { type: 'miss' }>,
): Promise<void> {
  const question = ip !== undefined ? { ip } : mac !== undefined ? { mac } : undefined;
  const answers = question && resolve?.(question);
  if (answers && answers.length > 0) await kernel.answer(answers);
}
