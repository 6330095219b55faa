// Requests at rates of their own, whatever the answers do: the scenarios of SCENARIOS, told of as JSON by status.
import http from 'k6/http';

const files = __ENV.FILES.split(' ');
// k6 lets a user open only what was opened before there were users.
const bodies = __VU === 0 ? files.map((file) => open(file, 'b')) : [open(files[__VU % files.length], 'b')];
const headers = { 'Content-Type': __ENV.MEDIA_TYPE, Accept: __ENV.MEDIA_TYPE };
const scenarios = JSON.parse(__ENV.SCENARIOS);

// A threshold that always holds makes k6 keep the figures of a tag by themselves.
const thresholds = {};
for (const name of Object.keys(scenarios)) {
  thresholds[`dropped_iterations{scenario:${name}}`] = ['count>=0'];
  for (const status of [0, 200, 429, 503, 504]) {
    thresholds[`http_req_duration{scenario:${name},status:${status}}`] = ['max>=0'];
    thresholds[`http_reqs{scenario:${name},status:${status}}`] = ['count>=0'];
  }
  thresholds[`http_reqs{scenario:${name}}`] = ['count>=0'];
}

export const options = {
  discardResponseBodies: true,
  scenarios,
  thresholds,
  summaryTrendStats: ['count', 'med', 'p(99)', 'max'],
};

export function score() {
  http.post(`${__ENV.URL}/score`, bodies[0], { headers });
}

export function live() {
  http.get(`${__ENV.URL}/livez`);
}

export function handleSummary(data) {
  return { stdout: JSON.stringify(data.metrics) };
}
