import type { Desired, Facts } from '../desired/desired.ts';
import type { Cidr } from '../ip/cidr.ts';

/** The parts of a computation that the container runtime is given. */
type Given = {
  readonly facts: Pick<Facts, 'network' | 'self'>;
  readonly desired: Pick<Desired, 'mtu'>;
};

/** With blocks, subnets come and go with pods. */
const NO_SUBNETS: readonly Cidr[] = [];

/** What the container runtime has last been given: the network, the subnets and the MTU. */
export class Announced {
  #last = '';
  /** The parts that were last compared, and their text: mostly they are the same objects again. */
  #compared: { readonly parts: readonly unknown[]; readonly text: string } = { parts: [], text: '' };

  /** Whether the runtime has what a computation says. */
  covers(computed: Given): boolean {
    return this.#last === this.#textOf(computed);
  }

  note(computed: Given): void {
    this.#last = this.#textOf(computed);
  }

  #textOf({ desired, facts }: Given): string {
    const { network, self } = facts;
    const subnets = network.addresses === 'blocks' ? NO_SUBNETS : self.node.subnets;
    const parts = [subnets, network, desired.mtu];
    if (!parts.every((part, i) => part === this.#compared.parts[i]))
      this.#compared = { parts, text: JSON.stringify(parts) };
    return this.#compared.text;
  }
}
