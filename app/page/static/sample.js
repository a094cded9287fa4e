/** A CSV file of people that nobody is, large enough to be waited for. */
export function sample(rows = 150_000) {
  const cities = ['Lisbon', 'Oslo', 'Kraków', 'Nairobi', 'Lima', ''];
  const lines = ['id,name,city,born,height,member,score'];
  // A generator of its own, so that each sample is the same.
  let state = 42;
  const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
  for (let id = 1; id <= rows; id += 1) {
    const born = `${1940 + Math.floor(random() * 70)}-0${1 + Math.floor(random() * 9)}-1${Math.floor(random() * 9)}`;
    const height = random() < 0.12 ? '' : (1.5 + random() * 0.5).toFixed(2);
    const score = random() < 0.35 ? 'NA' : Math.floor(random() * 1000);
    const city = cities[Math.floor(random() * cities.length)];
    lines.push(`${id},Person ${id},${city},${born},${height},${random() < 0.5 ? 'yes' : 'no'},${score}`);
  }
  return new File([lines.join('\n')], 'sample.csv', { type: 'text/csv' });
}
