// Names, and the value of each.

export type Line = [name: string, value: string]

export const Lines = ({ lines }: { lines: Line[] }) => (
  <dl>
    {lines.map(([name, value]) => (
      <div key={name}>
        <dt>{name}</dt>
        <dd>{value}</dd>
      </div>
    ))}
  </dl>
)
