import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Diagnosis } from '../../src/doctor/doctor.ts';
import { LabPaths } from '../../src/lab/record/paths.ts';
import type { PathReport } from '../../src/probe/report.ts';
import { CANNOT, flatnet, ip, TestLab } from '../lab/host.ts';

/** Loads rules into a namespace. */
function nft(netns: string, text: string): void {
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], { input: text });
}

// Each peer has another trouble, so that one examination meets them all.
test('the doctor finds what is wrong on the way to each peer, and on the node', {
  skip: CANNOT,
}, async (t) => {
  const lab = new TestLab(t, 'd');
  await lab.ok('up', '--nodes', '5');
  const on = ['--lab', lab.name, '--node', 'node1'];
  const doctor = async (): Promise<{ status: number; text: string; diagnosis: Diagnosis }> => {
    const { status, stdout, stderr } = await flatnet('doctor', ...on, '--json');
    assert.equal(stderr, '');
    const diagnosis = JSON.parse(stdout) as Diagnosis;
    const wrong = diagnosis.findings.filter(({ state }) => state === 'wrong');
    const text = wrong
      .map(({ what, cause, fix }) => [what, cause, fix].filter(Boolean).join('; '))
      .join('\n');
    return { status, text, diagnosis };
  };

  await t.test('all is well', async () => {
    const { status, text, diagnosis } = await doctor();
    assert.deepEqual([status, text], [0, '']);
    assert.deepEqual(
      diagnosis.paths.map(({ peer, state, mtu, loss }) => [peer, state, mtu, loss]),
      ['node2', 'node3', 'node4', 'node5'].map((peer) => [peer, 'well', 1450, 0]),
    );
    const { stdout, stderr } = await flatnet('doctor', ...on, '--peers', '1');
    assert.match(stdout, /^ok +kernel +vxlan devices\nok +kernel/m);
    assert.match(stdout, /^note +peers +3 more were not tested$/m);
    assert.match(stdout, /\n\nnothing is wrong\n$/);
    assert.match(stderr, /^the ways to peers: 1 of 4$/m);
  });

  const underlay = `${lab.name}-underlay`;
  await t.test('the underlay has troubles', async () => {
    nft(
      underlay,
      `table bridge trouble {
        chain forward {
          type filter hook forward priority 0
          oifname "port2" udp dport { 8472, 4789 } drop
          oifname "port2" ip protocol 47 drop
          oifname "port4" numgen random mod 10 < 3 drop
        }
      }`,
    );
    // A switch with a smaller MTU: neither node can know.
    ip(underlay, 'link', 'set', 'port3', 'mtu', '1400');
    ip(underlay, 'link', 'set', 'port5', 'down');
    // A host's own firewall.
    nft(
      `${lab.name}-node2`,
      `table inet host {
        chain input {
          type filter hook input priority 0
          udp dport 6081 reject with icmpx admin-prohibited
        }
      }`,
    );
    const { status, text, diagnosis } = await doctor();
    assert.equal(status, 1);
    const of = new Map<string, PathReport>(diagnosis.paths.map((report) => [report.peer, report]));
    assert.deepEqual(
      [...of.values()].map(({ state }) => state),
      ['blocked', 'narrow', 'lossy', 'down'],
      text,
    );
    // What was dropped or forbidden is not recommended, what passes is.
    assert.deepEqual(of.get('node2')?.others, ['ipip', 'udp', 'host-gw']);
    assert.match(
      text,
      /^node2 .* UDP 8472; .*drops UDP 8472; allow UDP 8472 .*host-gw, ipip and udp do reach/m,
    );
    assert.match(
      text,
      /^node3 gets packets of up to 1350 bytes, .* 1400 bytes .* set Backend\.MTU to 1400$/m,
    );
    const { loss = 0 } = of.get('node4') ?? {};
    assert.ok(loss > 0.08 && loss < 0.7, `${loss}`);
    assert.match(text, /^node5 does not answer at 172\.30\.0\.15; /m);
    assert.equal(text.split('\n').length, 4);
  });

  await t.test('the node has troubles of its own, and no agent', async () => {
    ip(underlay, 'link', 'set', 'port3', 'mtu', '1500');
    ip(underlay, 'link', 'set', 'port5', 'up');
    nft(underlay, 'delete table bridge trouble');
    await lab.ok('node', 'stop', 'node1');
    const { agent } = new LabPaths(lab.name).node('node1');
    writeFileSync(join(agent.cniConf, '05-other.conflist'), '{}');
    execFileSync('ip', ['netns', 'exec', `${lab.name}-node1`, 'sysctl', '-qw', 'net.ipv4.ip_forward=0']);
    nft(
      `${lab.name}-node1`,
      'table inet strange {\n chain forward {\n type filter hook forward priority 0; policy drop;\n }\n}',
    );
    const { status, text, diagnosis } = await doctor();
    assert.equal(status, 1);
    const lines = text.split('\n');
    assert.equal(lines.length, 4, text);
    assert.match(lines[0] ?? '', /^the agent does not answer: .*; start it; what follows is from the view/);
    assert.match(lines[1] ?? '', /^net\.ipv4\.ip_forward is 0: .*sysctl -w net\.ipv4\.ip_forward=1/);
    assert.match(
      lines[2] ?? '',
      /^pods are cut off; nft chain inet strange forward drops 10\.244\.0\.0\/16; nft/,
    );
    assert.match(lines[3] ?? '', /^runtimes use .*05-other\.conflist instead of 10-flatnet\.conflist; .*rm /);
    // It probes by itself.
    assert.deepEqual(
      diagnosis.paths.map(({ state }) => state),
      ['well', 'well', 'well', 'well'],
    );
  });
});
