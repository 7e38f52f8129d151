import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseCidr } from '../../src/ip/cidr.ts';
import {
  parseSubnetFile,
  readSubnetFile,
  renderSubnetFile,
  type SubnetFile,
  writeSubnetFile,
} from '../../src/ipam/subnet-file.ts';
import { cidrs } from '../ip/arbitraries.ts';

const DUAL: SubnetFile = {
  networks: { 4: [parseCidr('10.244.0.0/16')], 6: [parseCidr('fc00::/48')] },
  subnets: { 4: parseCidr('10.244.1.0/24'), 6: parseCidr('fc00:0:0:1::/64') },
  mtu: 1450,
  masquerade: true,
};

const DUAL_TEXT = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fc00::/48
FLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;

describe('subnet.env', () => {
  it("is flannel's text, line for line", () => {
    assert.equal(renderSubnetFile(DUAL), DUAL_TEXT);
    assert.deepEqual(parseSubnetFile(DUAL_TEXT), DUAL);
  });

  it('omits the lines of an absent family', () => {
    const six: SubnetFile = {
      ...DUAL,
      networks: { 6: [parseCidr('fc00::/48')] },
      subnets: { 6: parseCidr('fc00:0:0:1::/64') },
    };
    assert.equal(renderSubnetFile(six), DUAL_TEXT.split('\n').slice(2).join('\n'));
  });

  it('round-trips', () => {
    const family = (f: 4 | 6) =>
      fc.tuple(fc.uniqueArray(cidrs(f), { minLength: 1, maxLength: 3 }), cidrs(f, 0, 30));
    fc.assert(
      fc.property(
        family(4),
        fc.option(family(6)),
        fc.nat(65_535),
        fc.boolean(),
        (four, six, mtu, masquerade) => {
          const file: SubnetFile = {
            networks: { 4: four[0], ...(six && { 6: six[0] }) },
            subnets: { 4: four[1], ...(six && { 6: six[1] }) },
            mtu,
            masquerade,
          };
          assert.deepEqual(parseSubnetFile(renderSubnetFile(file)), file);
        },
      ),
    );
  });

  it('may contain comma-separated lists, quotes, comments, other keys and CRLF line endings', () => {
    const text =
      '# flannel\r\nFLANNEL_NETWORK="10.244.0.0/16, 10.96.0.0/12,10.244.0.0/16"\r\nOTHER=1\r\nFLANNEL_SUBNET=10.244.1.1/24\r\nFLANNEL_X=\r\n';
    assert.deepEqual(parseSubnetFile(text), {
      networks: { 4: ['10.244.0.0/16', '10.96.0.0/12'] },
      subnets: { 4: '10.244.1.0/24' },
      mtu: 0,
      masquerade: false,
    });
  });

  it('is rejected with the key of the malformed line', () => {
    for (const key of ['FLANNEL_SUBNET', 'FLANNEL_IPV6_SUBNET', 'FLANNEL_MTU']) {
      const text = DUAL_TEXT.replace(new RegExp(`^${key}=.*$`, 'm'), `${key}=x`);
      assert.throws(() => parseSubnetFile(text), { code: 'CONFIG_INVALID', object: key });
    }
  });

  it('is replaced atomically, creating its directory, with mode 0644 under any umask and no leftovers', async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'flatnet-subnet-env-'));
    t.after(() => rm(root, { recursive: true }));
    const umask = process.umask(0o077);
    t.after(() => process.umask(umask));
    const dir = join(root, 'run/flannel');
    const path = join(dir, 'subnet.env');
    assert.equal(await readSubnetFile(path), undefined);
    await writeSubnetFile(path, DUAL);
    await chmod(path, 0o600);
    await writeSubnetFile(path, { ...DUAL, mtu: 1500 });
    assert.equal((await readSubnetFile(path))?.mtu, 1500);
    assert.equal((await stat(path)).mode & 0o777, 0o644);
    assert.equal(await readFile(path, 'utf8'), DUAL_TEXT.replace('1450', '1500'));
    assert.deepEqual(await readdir(dir), ['subnet.env']);
  });

  it('fails to be written with an IO error naming its path, leaving nothing behind', async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'flatnet-subnet-env-'));
    t.after(() => rm(root, { recursive: true }));
    await writeFile(join(root, 'file'), '');
    const path = join(root, 'file/subnet.env');
    await assert.rejects(writeSubnetFile(path, DUAL), { code: 'IO', object: path, operation: 'write' });
    await assert.rejects(readSubnetFile(join(root, 'file/subnet.env')), { code: 'IO', errno: 'ENOTDIR' });
    assert.deepEqual(await readdir(root), ['file']);
  });
});
