// The CNI part of an agent in a separate process that kills itself at one step of a call:
//   node crashing-agent.ts DIR NETNS STEP [REQUEST [WIRING]]
// With a REQUEST (JSON) it executes that call and prints the number of steps if it finishes. Without one, it
// serves DIR/agent.sock.
import { basename } from 'node:path';
import { Host } from './host.ts';

const [dir = '', netns = '', step = '', request, wiring] = process.argv.slice(2);
let steps = 0;

const host = new Host({
  dir,
  netns: basename(netns),
  wiring: wiring === 'routed' ? wiring : 'bridge',
  context: {
    step: () => {
      if (++steps === Number(step)) process.kill(process.pid, 'SIGKILL');
    },
  },
});
if (request === undefined) {
  await host.listen();
  process.send?.('listening');
} else {
  const reply = await host.service.handle(JSON.parse(request));
  if (reply.exit !== 0) console.error(reply.stdout);
  console.log(steps);
  await host.stop();
}
