/* Keeps Gradio's stream of answers open while one is still to come. The server closes it after the last answer it knows of; a
   page that has asked again meanwhile, but reads of the end later, would wait for that answer until another event opens a stream.
   Stands in the page before Gradio's own scripts. */
{
  const get = window.fetch.bind(window);
  const awaited = new Set(); // events whose answer has not come
  const early = new Set(); // events whose answer came before their name
  let unanswered = 0; // requests for an event that the studio has not answered yet
  let naming = Promise.resolve(); // until the answers to such requests are read

  const nameOf = (request) => String(request[0]?.url ?? request[0]);

  async function named(answer) {
    const { event_id } = await answer.json();
    if (event_id && !early.delete(event_id)) awaited.add(event_id);
  }

  async function ask(request) {
    unanswered += 1;
    try {
      const answer = await get(...request);
      naming = Promise.allSettled([naming, named(answer.clone())]).then(() => {}); // keeps nothing of what was read
      return answer;
    } finally {
      unanswered -= 1;
    }
  }

  async function* messages(request) {
    for (let isOpen = true; isOpen; ) {
      const answer = await get(...request);
      if (!answer.ok) throw new TypeError(`The stream was refused: ${answer.status}`);
      let rest = "";
      isOpen = false;
      for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
        const whole = (rest + text).split("\n\n");
        rest = whole.pop();
        for (const message of whole) {
          const { msg, event_id } = JSON.parse(message.slice(message.indexOf("{")) || "{}");
          if (msg === "process_completed" && !awaited.delete(event_id)) early.add(event_id);
          if (msg === "close_stream") {
            await naming;
            isOpen = unanswered > 0 || awaited.size > 0;
            if (isOpen) continue;
          }
          yield `${message}\n\n`;
        }
      }
    }
  }

  window.fetch = async (...request) => {
    const name = nameOf(request);
    if (name.includes("/queue/join")) return ask(request);
    if (!name.includes("/queue/data")) return get(...request);
    const told = messages(request);
    const body = new ReadableStream({
      async pull(to) {
        const { value, done } = await told.next();
        if (done) to.close();
        else to.enqueue(new TextEncoder().encode(value));
      },
      cancel: () => told.return(),
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
}
