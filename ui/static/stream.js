/* Keeps Gradio's stream of answers open while one is still to come. The server closes it after the last answer it knows of; a
   page that has asked again meanwhile, but reads of the end later, would wait for that answer until another event opens a stream.
   Stands in the page before Gradio's own scripts. */
{
  const get = window.fetch.bind(window);
  const awaited = new Set(); // events whose answer has not come
  const early = new Set(); // events whose answer came before their name
  let asking = Promise.resolve(); // until the studio has named the events that were asked for

  const nameOf = (asked) => String(asked[0]?.url ?? asked[0]);

  async function ask(asked) {
    const answered = get(...asked);
    asking = Promise.allSettled([asking, answered.then((answer) => answer.clone().json()).then((told) => told.event_id && !early.delete(told.event_id) && awaited.add(told.event_id))]);
    return answered;
  }

  async function* messages(asked) {
    for (let isOpen = true; isOpen; ) {
      const answer = await get(...asked);
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
            await asking;
            isOpen = awaited.size > 0;
            if (isOpen) continue;
          }
          yield `${message}\n\n`;
        }
      }
    }
  }

  window.fetch = async (...asked) => {
    const name = nameOf(asked);
    if (name.includes("/queue/join")) return ask(asked);
    if (!name.includes("/queue/data")) return get(...asked);
    const told = messages(asked);
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
