import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../../cluster/fields.ts';
import { parseJson } from '../../cluster/json.ts';
import { perFamily } from '../../cluster/node.ts';
import { codeOf, messageOf } from '../../error.ts';
import { parseIp } from '../../ip/address.ts';
import { type Cidr, parseCidr } from '../../ip/cidr.ts';
import type { Log } from '../../log.ts';
import { replaceFile } from '../../replace-file.ts';
import type { Origin } from './cloud.ts';
import type { Place } from './plan.ts';

/** What an agent must know of earlier ones. */
export type Remembered = {
  /** The routes that this node has made. */
  readonly made: readonly Place[];
  /** The subnets whose routes were last seen to lead here. */
  readonly confirmed: readonly Cidr[];
  /** The other nodes' subnets, with their addresses. */
  readonly others: ReadonlyMap<Cidr, readonly string[]>;
  /** By which the routes were made. */
  readonly origin?: Origin;
};

const NOTHING: Remembered = { made: [], confirmed: [], others: new Map() };

/** A companion's memory, in a file: the routes outlive agents and reboots. */
export class Memory {
  readonly #folder: string;
  readonly #path: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#path = join(folder, 'routes.json');
  }

  /** Without a readable file, nothing is remembered: nothing is removed then. */
  read(log: Log): Remembered {
    try {
      const fields = new Fields(parseJson(readFileSync(this.#path, 'utf8')));
      const made = (fields.list('made') ?? []).map((value) => {
        const place = new Fields(value, 'made');
        const destination = place.parsed('destination', parseCidr);
        if (destination === undefined) throw place.invalid('destination', 'is missing');
        return { table: place.string('table') ?? '', destination };
      });
      const others = (fields.object('others')?.entries() ?? []).map(([subnet, addresses]) => {
        const list = Array.isArray(addresses) ? addresses.map(String) : [];
        return [parseCidr(subnet), list] as const;
      });
      const confirmed = fields.parsedList('confirmed', parseCidr) ?? [];
      const origin = fields.object('origin');
      return { made, confirmed, others: new Map(others), ...(origin && { origin: readOrigin(origin) }) };
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') log.warn({ file: this.#path, error: messageOf(error) }, 'ignored');
      return NOTHING;
    }
  }

  write({ others, ...rest }: Remembered): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const text = JSON.stringify({ ...rest, others: Object.fromEntries(others) });
    replaceFile(this.#path, `${text}\n`, { mode: 0o600, flush: true });
  }
}

function readOrigin(fields: Fields): Origin {
  const addresses = fields.object('addresses');
  return {
    options: fields.object('options')?.source ?? {},
    addresses: perFamily((family) => addresses?.parsed(`${family}`, parseIp)),
  };
}
