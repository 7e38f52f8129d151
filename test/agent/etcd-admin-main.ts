// What an administrator does with an etcd that only the lab's namespaces reach: OPTIONS COMMAND ARGUMENT.
import { readFileSync } from 'node:fs';
import { parseCidr } from '../../src/ip/cidr.ts';
import { SILENT } from '../../src/log.ts';
import { Transport } from '../../src/store/kv/transport.ts';
import { type EtcdOptions, openEtcd } from '../../src/store/open.ts';
import { importStore } from '../../src/transfer/import.ts';
import { readContents } from '../../src/transfer/read.ts';
import { facts } from '../store/ports/facts.ts';
import { eventually } from '../store/servers.ts';

const [text = '', command = '', argument = ''] = process.argv.slice(2);
const options = JSON.parse(text) as EtcdOptions;

/** Turns on users: `agent` may do what it likes below flannel's prefix. */
async function users(): Promise<void> {
  const { endpoints, tls, password } = options;
  const ca = readFileSync(tls?.caFile ?? '', 'utf8');
  const transport = new Transport({ endpoints, tls: { ca } });
  const base64 = (name: string): string => Buffer.from(name).toString('base64');
  await eventually(
    () => transport.call('/v3/kv/range', { key: base64('/x') }).catch(() => undefined),
    30_000,
  );
  for (const name of ['root', 'agent']) {
    await transport.call('/v3/auth/user/add', { name, password });
    await transport.call('/v3/auth/role/add', { name });
    await transport.call('/v3/auth/user/grant', { user: name, role: name });
  }
  const range = { key: base64('/coreos.com/network/'), range_end: base64('/coreos.com/network0') };
  await transport.call('/v3/auth/role/grant', { name: 'agent', perm: { permType: 'READWRITE', ...range } });
  await transport.call('/v3/auth/enable', {});
  transport.close();
}

if (command === 'users') await users();
else {
  const store = openEtcd(options, SILENT);
  if (command === 'import') {
    const contents = readContents(JSON.parse(readFileSync(argument, 'utf8')), () => {});
    console.log(JSON.stringify(await importStore(contents, store, { dryRun: false, replace: false })));
  } else if (command === 'place') {
    const number = Number(argument);
    const node = { ...facts(number), subnets: [parseCidr(`10.244.${number}.0/24`)] };
    console.log(JSON.stringify(await store.membership.place([node])));
  } else throw new Error(`what is ${command}?`);
  store.close();
}
