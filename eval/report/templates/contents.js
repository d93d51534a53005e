// Where to go on a long page: a link to each of its headings.

const headings = [...document.querySelectorAll("main h2")];
if (headings.length > 3) {
  const links = headings.map((heading, n) => {
    heading.id = `part-${n + 1}`;
    const link = document.createElement("a");
    [link.href, link.textContent] = [`#${heading.id}`, heading.textContent];
    return link;
  });
  const contents = document.createElement("nav");
  contents.setAttribute("aria-label", "Contents");
  contents.append(...links);
  document.querySelector("header").append(contents);
}
