// Clients of Socket.IO: print what comes as lines of JSON, and whenever they are sent away go to the next of the addresses
// and join their rooms again, each with the last cursor that it was given.
import { io } from 'socket.io-client';

const { addresses, rooms, tenant, clients } = JSON.parse(process.argv[2]);
const soon = () => new Promise((go) => setTimeout(go, 20 + 60 * Math.random()));

clients.forEach(({ start, auth }, who) => {
  const tell = (what, told) => console.log(JSON.stringify({ who, what, told }));
  const cursors = {};
  let at = start;
  const address = () => `http://${addresses[at % addresses.length]}`;
  const options = { auth, transports: ['websocket'], reconnectionDelay: 20, reconnectionDelayMax: 100, forceNew: true };
  const socket = io(address(), options);
  const elsewhere = () => {
    at += 1;
    socket.io.uri = address();
  };
  const join = async (room) => {
    // Whoever loses the connection before the answer joins in `connect`.
    const joined = await socket.emitWithAck('join', { room, tenant, cursor: cursors[room] }).catch(() => null);
    if (!joined) return;
    cursors[room] ??= joined.data?.cursor;
    tell('join', joined);
    if (joined.error?.code !== 'UNAVAILABLE') return;
    await soon();
    if (socket.connected) join(room);
  };
  socket.on('connect', () => rooms.forEach(join));
  socket.onAny((name, envelope) => {
    if (envelope.room) cursors[envelope.room] = envelope.cursor;
    tell(name, envelope);
  });
  socket.on('disconnect', (reason) => {
    elsewhere();
    tell('disconnect', reason);
  });
  socket.io.on('reconnect_error', elsewhere);
  socket.on('connect_error', (error) => tell('connect_error', error.message));
});
