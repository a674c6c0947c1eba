type Attributes = Readonly<Record<string, string | number | boolean>>;

/** An HTML element with attributes and children; texts are set as texts, so nothing in them is markup. `true` sets an attribute without a value, `false` none. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export const shape = (tag: string, attributes: Attributes = {}, ...children: (Node | string)[]): SVGElement =>
  filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children) as SVGElement;

function filled<E extends Element>(one: E, attributes: Attributes, children: readonly (Node | string)[]): E {
  for (const [name, value] of Object.entries(attributes)) if (value !== false) one.setAttribute(name, value === true ? '' : String(value));
  one.append(...children);
  return one;
}

/** The data that the page carries under an id. */
export const dataOf = <T>(id: string): T => JSON.parse(document.getElementById(id)!.textContent!) as T;
