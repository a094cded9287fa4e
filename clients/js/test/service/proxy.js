import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** A TCP proxy in front of the service whose connections can be cut, and which can be closed. */
export async function proxyOf(url) {
  const { hostname, port } = new URL(url);
  const open = new Set();
  let refusing = false;
  const server = createServer((incoming) => {
    if (refusing) return incoming.destroy();
    const outgoing = connect(Number(port), hostname);
    for (const [one, other] of [[incoming, outgoing], [outgoing, incoming]]) {
      open.add(one);
      one.pipe(other);
      one.on('error', () => undefined);
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut() {
      for (const socket of open) socket.destroy();
    },
    refuse(whether) {
      refusing = whether;
    },
    close() {
      this.cut();
      server.close();
    },
  };
}
