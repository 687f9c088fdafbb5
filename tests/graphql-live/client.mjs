// Clients of GraphQL subscriptions, over WebSockets by `graphql-ws` and as streams of events by `graphql-sse`: print what
// comes as lines of JSON. Each attempt to connect goes to the next of the addresses, with the last cursor of the subject.
import { createClient as overWebSocket } from 'graphql-ws';
import { createClient as overEvents } from 'graphql-sse';
import WebSocket from 'ws';

const { addresses, query, subjects, clients } = JSON.parse(process.argv[2]);
const tell = (who, what, told) => console.log(JSON.stringify({ who, what, told }));
const soon = () => new Promise((go) => setTimeout(go, 20 + 60 * Math.random()));

// What a subscription that was refused with is not asked for again.
const FOR_GOOD = ['UNAUTHENTICATED', 'FORBIDDEN', 'NOT_FOUND', 'BAD_USER_INPUT', 'CONFLICT'];

function listen(client, who, variables) {
  let refused;
  const again = async (why) => {
    tell(who, 'over', why);
    if (FOR_GOOD.includes(why)) return;
    await soon();
    listen(client, who, variables);
  };
  client.subscribe({ query, variables }, {
    next({ data, errors }) {
      refused = errors?.[0].extensions.code;
      if (refused) return;
      const [event] = Object.values(data);
      // The request is written anew whenever the library connects again: it then has this cursor.
      variables.a = event.cursor;
      tell(who, variables.id, event);
    },
    error(why) {
      const status = why.response?.status ?? why.code;
      again(why[0]?.extensions.code ?? ([401, 4401].includes(status) ? 'UNAUTHENTICATED' : String(why.message ?? why)));
    },
    complete: () => again(refused ?? 'complete'),
  });
}

clients.forEach(({ kind, start, headers, attempts }, who) => {
  let tried = start;
  const next = (scheme) => `${scheme}://${addresses[tried++ % addresses.length]}/graphql`;
  const retryAttempts = attempts ?? Infinity;
  const client = kind === 'graphql-ws'
    ? overWebSocket({
      url: () => next('ws'),
      webSocketImpl: WebSocket,
      connectionParams: headers,
      retryAttempts,
      retryWait: soon,
      // A connection that is refused is an error of `ws`, and the library tries again after closed ones alone.
      shouldRetry: () => true,
      on: { closed: ({ code }) => tell(who, 'closed', code) },
    })
    : overEvents({
      url: () => next('http'),
      headers,
      retryAttempts,
      retry: soon,
      on: { connecting: (again) => again && tell(who, 'closed', null) },
    });
  subjects.forEach((subject) => listen(client, who, { ...subject }));
});
