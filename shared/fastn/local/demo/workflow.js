// Tells a Slack channel about every issue opened on GitHub.
export default async function (ctx) {
  const { issue, repository, sender } = ctx.input;
  console.log(`issue #${issue.number} by ${sender.login} in ${repository.full_name}`);

  const message = await fastn.connector.slack.postMessage({
    channel: "C0000000001",
    text: `*${repository.full_name}#${issue.number}* ${issue.title}\n${issue.html_url}`,
  });

  return { channel: message.channel, ts: message.ts, issue: issue.number };
}
