// Draws one dashboard, with the answers to its queries, as Grafana would: its own components (@grafana/ui) draw curves,
// figures, bars, tables and the frames around them, its own code (@grafana/data) finds units, thresholds, overrides and
// transformations. What is not in those packages, heat maps and state timelines, is drawn here, in SVG.
//
// `data.js` beside the page sets window.boards; the page's hash says which of them, and its width is the window's. Once
// all of it is drawn, window.drawn is true.
import React, { useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import {
  createTheme, createDataFrame, applyFieldOverrides, transformDataFrame, standardTransformers, standardTransformersRegistry,
  standardFieldConfigEditorRegistry, getFieldDisplayValues, getDisplayProcessor, getFieldDisplayName, formattedValueToString,
  cacheFieldDisplayNames, dateTime, ThemeContext, FieldType,
} from '@grafana/data';
import { BigValue, BarGauge, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

const theme = createTheme({ colors: { mode: 'dark' } });
const ZONE = 'utc';
// Of Grafana's grid: 24 columns, rows of 30 pixels, 8 between them.
const CELL = 30, GAP = 8;

standardTransformersRegistry.setInit(() => [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer]
  .map((one) => ({ id: one.id, name: one.name, transformation: () => Promise.resolve(one), aliasIds: [] })));
// Grafana's editor of fields lists each property that an override may set; here they need no editor.
standardFieldConfigEditorRegistry.setInit(() => ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds', 'mappings', 'noValue', 'links']
  .map((id) => ({ id, path: id, name: id, process: (value) => value, shouldApply: () => true })));
for (const id of ['align', 'axisPlacement', 'axisSoftMax', 'cellOptions', 'drawStyle', 'fillOpacity', 'filterable', 'hideFrom', 'inspect',
  'lineInterpolation', 'lineStyle', 'lineWidth', 'minWidth', 'pointSize', 'scaleDistribution', 'showPoints', 'spanNulls', 'stacking',
  'thresholdsStyle', 'width']) {
  standardFieldConfigEditorRegistry.register({
    id: `custom.${id}`, path: id, name: id, isCustom: true, process: (value) => value, shouldApply: () => true,
  });
}

function framesOf(panel) {
  const raw = panel.frames.map((frame) => createDataFrame({
    ...frame,
    fields: frame.fields.map((field) => ({ config: {}, ...field, values: field.values.map((one) => (one === 'NaN' ? NaN : one)) })),
  }));
  const configured = (frames) => applyFieldOverrides({
    data: frames, fieldConfig: panel.fieldConfig, replaceVariables: (text) => text, theme, timeZone: ZONE,
    fieldConfigRegistry: standardFieldConfigEditorRegistry,
  });
  return new Promise((resolve) => {
    transformDataFrame(panel.transformations ?? [], raw, { interpolate: (text) => text }).subscribe((frames) => {
      const done = configured(frames);
      cacheFieldDisplayNames(done);
      resolve(done);
    });
  });
}

function Curves({ panel, frames, range, width, height }) {
  return <TimeSeries frames={frames} width={width} height={height} timeRange={range} timeZone={ZONE} theme={theme}
    legend={panel.options.legend} options={panel.options} />;
}

const displayed = (panel, frames, sparkline) => getFieldDisplayValues({
  data: frames, fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text,
  theme, timeZone: ZONE, sparkline,
});

function Figures({ panel, frames, width, height }) {
  const { options } = panel;
  return <VizRepeater getValues={() => displayed(panel, frames, options.graphMode !== 'none')} width={width} height={height}
    source={frames} renderCounter={0} autoGrid orientation={options.orientation}
    renderValue={({ value, width, height, count }) => <BigValue value={value.display} count={count} width={width} height={height}
      sparkline={value.sparkline} colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode}
      textMode={options.textMode === 'auto' ? (count > 1 ? 'value_and_name' : 'value') : options.textMode}
      wideLayout={options.wideLayout} theme={theme} />} />;
}

function Bars({ panel, frames, width, height }) {
  const { options } = panel;
  const factors = (values) => values.reduce((all, { display }) => ({
    title: longer(all.title, display.title ?? ''), text: longer(all.text, formattedValueToString(display)),
  }), { title: '', text: '' });
  return <VizRepeater getValues={() => displayed(panel, frames, false)} getAlignmentFactors={factors} width={width} height={height}
    source={frames} renderCounter={0} orientation={options.orientation} itemSpacing={6} minVizWidth={options.minVizWidth}
    minVizHeight={options.minVizHeight} maxVizHeight={options.maxVizHeight}
    renderValue={({ value, width, height, orientation, alignmentFactors, count }) => <BarGauge value={value.display} width={width}
      height={height} orientation={orientation} field={value.field} display={getDisplayProcessor({ field: { config: value.field }, theme })}
      alignmentFactors={count > 1 ? alignmentFactors : undefined} displayMode={options.displayMode} showUnfilled={options.showUnfilled}
      valueDisplayMode={options.valueMode} namePlacement={options.namePlacement} itemSpacing={6} theme={theme} />} />;
}

const longer = (one, other) => (other.length > one.length ? other : one);

function Rows({ panel, frames, range, width, height }) {
  return <TableNG data={frames[0]} width={width} height={height} cellHeight={panel.options.cellHeight} timeRange={range}
    fieldConfig={panel.fieldConfig} sortBy={panel.options.sortBy} enableVirtualization={false} />;
}

function timeTicks(range, width) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const steps = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600].map((one) => one * 1000);
  const step = steps.find((one) => (to - from) / one <= width / 90) ?? 43200000;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) {
    ticks.push([(at - from) / (to - from), new Date(at).toISOString().slice(11, step < 60000 ? 19 : 16)]);
  }
  return ticks;
}

function Axis({ ticks, left, width, y }) {
  return ticks.map(([at, label]) => <text key={label} x={left + at * width} y={y} fontSize={12} textAnchor="middle"
    fill={theme.colors.text.primary}>{label}</text>);
}

// One row for each series, and in it a bar for each time that its value stays the same.
function States({ panel, frames, range, width, height }) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const series = frames.map((frame) => ({ name: getFieldDisplayName(frame.fields[1], frame, frames), times: frame.fields[0].values, field: frame.fields[1] }));
  const left = 12 + 7 * Math.max(...series.map(({ name }) => name.length)), inner = width - left - 8, tall = (height - 22) / series.length;
  const bars = series.flatMap(({ times, field }, row) => {
    const runs = [];
    times.forEach((time, at) => {
      const value = field.values[at], last = runs.at(-1);
      if (last && last.value === value) { last.end = times[at + 1] ?? to; } else { runs.push({ value, begin: time, end: times[at + 1] ?? to }); }
    });
    return runs.map(({ value, begin, end }) => {
      const { text, color } = field.display(value);
      const x = left + ((Math.max(begin, from) - from) / (to - from)) * inner, wide = ((Math.min(end, to) - Math.max(begin, from)) / (to - from)) * inner;
      return <g key={`${row} ${begin}`}>
        <rect x={x} y={row * tall + tall * 0.1} width={wide} height={tall * 0.8} fill={color} fillOpacity={panel.fieldConfig.defaults.custom.fillOpacity / 100} />
        {wide > 8 * text.length && <text x={x + 6} y={row * tall + tall / 2 + 4} fontSize={12} fill="#111217">{text}</text>}
      </g>;
    });
  });
  return <svg width={width} height={height}>
      {series.map(({ name }, row) => <text key={name} x={left - 8} y={row * tall + tall / 2 + 4} fontSize={12} textAnchor="end" fill={theme.colors.text.primary}>{name}</text>)}
      {bars}
      <Axis ticks={timeTicks(range, inner)} left={left} width={inner} y={height - 6} />
    </svg>;
}

const ORANGES = ['#3a1a04', '#7f2704', '#a63603', '#d94801', '#f16913', '#fd8d3c', '#fdae6b', '#fdd0a2', '#fee6ce', '#fff5eb'];

// Prometheus's buckets are cumulative; here is what each of them has for itself.
function Heat({ panel, frames, range, width, height }) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const le = (frame) => Number(frame.fields[1].labels.le.replace('+Inf', 'Infinity'));
  const sorted = [...frames].sort((one, other) => le(one) - le(other));
  const show = getDisplayProcessor({ field: { type: FieldType.number, config: { unit: panel.options.yAxis.unit } }, theme });
  const names = sorted.map((frame) => (le(frame) === Infinity ? '+Inf' : formattedValueToString(show(le(frame)))));
  const cells = sorted.flatMap((frame, row) => frame.fields[1].values.map((value, at) => ({
    row, time: frame.fields[0].values[at], count: Math.max(0, value - (row > 0 ? sorted[row - 1].fields[1].values[at] : 0)),
  })));
  const most = Math.max(...cells.map(({ count }) => count));
  const times = sorted[0].fields[0].values, step = times[1] - times[0];
  const left = 60, legend = 26, inner = width - left - 8, tall = (height - legend - 22) / sorted.length;
  const color = (count) => ORANGES[Math.min(ORANGES.length - 1, Math.floor((count / most) ** panel.options.color.exponent * ORANGES.length))];
  const every = Math.ceil(14 / tall);
  return <div style={{ width, height }}>
    <svg width={width} height={height - legend}>
      {names.map((name, row) => row % every === 0 && <text key={name} x={left - 8} y={(sorted.length - 1 - row) * tall + tall / 2 + 4} fontSize={12} textAnchor="end" fill={theme.colors.text.primary}>{name}</text>)}
      {cells.filter(({ count }) => count > panel.options.filterValues.le).map(({ row, time, count }) => <rect key={`${row} ${time}`}
        x={left + ((time - step - from) / (to - from)) * inner} y={(sorted.length - 1 - row) * tall} width={Math.max(1, (step / (to - from)) * inner - 0.5)} height={tall - 1} fill={color(count)} />)}
      <Axis ticks={timeTicks(range, inner)} left={left} width={inner} y={height - legend - 6} />
    </svg>
    <svg width={width} height={legend}>
      {ORANGES.map((one, at) => <rect key={one} x={left + at * 16} y={4} width={16} height={8} fill={one} />)}
      <text x={left + 168} y={13} fontSize={12} fill={theme.colors.text.primary}>{`0 to ${most.toFixed(0)}`}</text>
    </svg>
  </div>;
}

const KINDS = { timeseries: Curves, stat: Figures, bargauge: Bars, table: Rows, 'state-timeline': States, heatmap: Heat };

function Panel({ panel, frames, range, column }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: x * column, top: y * (CELL + GAP), width: w * column - GAP, height: h * (CELL + GAP) - GAP };
  if (panel.type === 'row') {
    return <div style={{ ...place, display: 'flex', alignItems: 'center', fontWeight: 500, fontSize: 16, color: theme.colors.text.primary }}>{panel.title}</div>;
  }
  const Kind = KINDS[panel.type];
  const empty = frames.every((frame) => frame.length === 0);
  return <div style={place} data-title={panel.title}>
    <PanelChrome title={panel.title} width={place.width} height={place.height} padding={panel.type === 'table' ? 'none' : undefined}>
      {(width, height) => empty
        ? <div style={{ width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary }}>No data</div>
        : <Kind panel={panel} frames={frames} range={range} width={width} height={height} />}
    </PanelChrome>
  </div>;
}

function Board({ board, frames }) {
  useEffect(() => {
    // Curves are drawn on canvases, a frame or two after they are mounted.
    document.fonts.ready.then(() => setTimeout(() => { window.drawn = true; }, 1500));
  }, []);
  const range = { from: dateTime(board.from), to: dateTime(board.to), raw: { from: dateTime(board.from), to: dateTime(board.to) } };
  const column = (window.innerWidth - 2 * 16 + GAP) / 24;
  const rows = Math.max(...board.panels.map(({ gridPos: { y, h } }) => y + h));
  const stamp = (moment) => new Date(moment).toISOString().slice(0, 16).replace('T', ' ');
  return <div style={{ padding: '12px 16px 16px', boxSizing: 'border-box', fontFamily: theme.typography.fontFamily, fontSize: 14 }}>
    <div style={{ display: 'flex', gap: 24, alignItems: 'baseline', height: 40, color: theme.colors.text.secondary }}>
      <span style={{ fontSize: 20, fontWeight: 500, color: theme.colors.text.maxContrast }}>{board.title}</span>
      {board.chosen.map(([label, value]) => <span key={label}>{label} <b style={{ color: theme.colors.text.primary, fontWeight: 500 }}>{value}</b></span>)}
      <span style={{ marginLeft: 'auto' }}>{`${stamp(board.from)} to ${stamp(board.to)} UTC`}</span>
    </div>
    <div style={{ position: 'relative', height: rows * (CELL + GAP) }}>
      {board.panels.map((panel, at) => <Panel key={panel.id} panel={panel} frames={frames[at]} range={range} column={column} />)}
    </div>
  </div>;
}

async function main() {
  const board = window.boards[Number(location.hash.slice(1))];
  const frames = await Promise.all(board.panels.map((panel) => (panel.frames ? framesOf(panel) : [])));
  document.body.style.margin = '0';
  document.body.style.background = theme.colors.background.canvas;
  createRoot(document.getElementById('root')).render(<ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <Board board={board} frames={frames} />
  </ThemeContext.Provider>);
}

main();
