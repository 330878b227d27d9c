/* A page from a server follows the study: it is loaded again where that has changed and nobody is in the middle of a choice. */
const LOOK_AGAIN = 2500; // milliseconds
const opening = new Set(); // cells whose responses are on their way: where they are to be shown is no place to come back to yet

async function look() {
  try {
    const answer = await fetch(`${DATA.served}state`);
    const { mark, open } = answer.ok ? await answer.json() : { mark: DATA.mark };
    const busy = opening.size || document.hidden || document.activeElement?.matches("input, select") || String(getSelection());
    if (mark !== DATA.mark && !busy) {
      notePlace();
      location.reload();
    }
    if (open && $("open")) $("open").textContent = open;
    $("live").textContent = mark === DATA.mark ? "Live" : "New cells are there";
  } catch {
    $("live").textContent = "The server is gone";
  }
}

function followStudy() {
  if (!DATA.served) return;
  $("live").hidden = false;
  setInterval(look, LOOK_AGAIN);
}
