import type { Fields } from '../cluster/fields.ts';
import type { Backend } from './backend.ts';

export type AwsVpcOptions = {
  /** Empty: that of each instance's own subnet. */
  readonly routeTables: readonly string[];
};

/**
 * Amazon's own routers carry the packets: each node has a route to its subnet in the VPC's route tables,
 * which is the companion's. Its kernel needs nothing but the default route.
 */
export const awsVpc: Backend<AwsVpcOptions> = {
  type: 'aws-vpc',
  // flannel's nodes with this backend published no name.
  alsoNamed: [''],
  options: (fields) => ({ routeTables: readTables(fields) }),
  overhead: () => 0,
  data: () => undefined,
  device: () => [],
  peer: () => ({ items: [] }),
};

/** As in flannel, one table, or a list of them. */
function readTables(fields: Fields): readonly string[] {
  const name = 'RouteTableID';
  if (!fields.has(name)) return [];
  if (!Array.isArray(fields.raw(name))) return [fields.parsed(name, tableId)].flatMap((id) => id ?? []);
  const tables = fields.parsedList(name, tableId) ?? [];
  if (tables.length === 0) throw fields.invalid(name, 'is empty: leave it out to use each instance’s own');
  return [...new Set(tables)];
}

function tableId(text: string): string {
  if (/^rtb-[0-9a-f]+$/.test(text)) return text;
  throw new Error(`'${text}' is not the id of a route table, such as rtb-0123456789abcdef0`);
}
