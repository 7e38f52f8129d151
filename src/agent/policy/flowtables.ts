import type { PolicyOptions } from '../../cluster/policy-options.ts';
import { messageOf } from '../../error.ts';
import { rehearse } from '../../linux/nftables/rehearsal.ts';
import { offloadTable } from '../../policy/flows/offload.ts';

/** Whether this kernel can offload connections, and why not. */
export class Flowtables {
  #refusal: string | undefined = 'nobody has tried yet';

  /** Why it cannot; undefined if it can. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /** Tries in a namespace that goes again. */
  async areThere(): Promise<boolean> {
    try {
      await rehearse([offloadTable({ devices: 'pod', bridge: 'bridge' })]);
      this.#refusal = undefined;
    } catch (error) {
      const [reason] = messageOf(error).split('\n');
      this.#refusal = `this kernel has no flowtables (modprobe nf_flow_table_inet): ${reason}`;
    }
    return this.#refusal === undefined;
  }
}

/** Whether established connections bypass the tables, for people. */
export function offloadText(policy: PolicyOptions | undefined, { refusal }: Flowtables): string {
  if (!policy?.offload) return 'off';
  return refusal === undefined ? 'on' : `off: ${refusal}`;
}
