import assert from 'node:assert/strict';
import { test } from 'node:test';
import { substitute } from '../../src/runtime/image.ts';

test('a command takes precedence, and the note names the image', () => {
  const runs = substitute({ image: 'nginx:1.27', command: ['sleep'], args: ['1'], ports: [80] });
  assert.deepEqual(runs, {
    runs: 'command',
    argv: ['sleep', '1'],
    applets: false,
    note: "image nginx:1.27 is not pulled: ran sleep 1 on this machine's file system",
  });
});

test('well-known images are substituted', () => {
  const of = (image: string, ports: number[] = []) => substitute({ image, ports });
  assert.deepEqual(
    ['nginx', 'docker.io/library/nginx:1.27', 'registry.example:5000/x/httpd@sha256:0'].map(
      (image) => of(image).runs,
    ),
    ['answerer', 'answerer', 'answerer'],
  );
  const nginx = of('nginx', [8080]);
  assert.deepEqual(nginx.runs === 'answerer' && nginx.ports, [8080]);
  const twice = of('nginx', [53, 53]);
  assert.deepEqual(twice.runs === 'answerer' && twice.ports, [53], 'one port for TCP and UDP');
  const bare = of('nginx');
  assert.deepEqual(bare.runs === 'answerer' && bare.ports, [80]);
  const busybox = of('busybox');
  assert.deepEqual(busybox.runs === 'command' && [busybox.argv, busybox.applets], [['sh'], true]);
  const pause = of('registry.k8s.io/pause:3.9');
  assert.deepEqual(pause.runs === 'command' && pause.argv, ['sleep', 'infinity']);
});

test('an unknown image without a command does not run, and the note says what to do', () => {
  const runs = substitute({ image: 'example.org/secret-sauce:7', ports: [] });
  assert.equal(runs.runs, 'nothing');
  assert.match(runs.note, /secret-sauce:7 is not pulled, .*give the container a command/);
});
