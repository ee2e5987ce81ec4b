# SPDX-License-Identifier: Apache-2.0
# Error against depth, from the table that `gemma4 compare --plot F.svg` leaves
# as F.dat (columns: notebooks_data/README.md):
#   gnuplot -e "dat='F.dat'; out='F.svg'; head='what this is'" error_by_depth.gp
if (!exists("dat")) dat = 'error_by_depth.dat'
if (!exists("out")) out = 'error_by_depth.svg'
if (!exists("head")) head = dat
if (!exists("axis")) axis = 'layer'

if (!exists('png')) \
    png = strlen(out) > 4 && substr(out, strlen(out) - 3, strlen(out)) eq '.png'
if (png && strstrt(GPVAL_TERMINALS, 'pngcairo')) \
    set terminal pngcairo size 1100,820 font 'sans,11' enhanced
if (png && !strstrt(GPVAL_TERMINALS, 'pngcairo')) set terminal png size 1100,820 enhanced
if (!png) set terminal svg size 1100,820 font 'sans,13' background rgb 'white' enhanced
set output out
set datafile separator ','
set datafile columnheaders

# Zero has no place on a log axis: it is drawn at the floor; NaN at the ceiling.
good(v) = v > 0 && v < 1e300
at(kind, name) = strcol('kind') eq kind && good(column(name)) ? column(name) : NaN
stats dat using (good(column('relative_l2')) ? column('relative_l2') : 1) name 'L' nooutput
stats dat using (good(column('max_abs')) ? column('max_abs') : 1) name 'M' nooutput
stats dat using (good(column('relative_l2')) ? column('relative_l2') : L_min) name 'LT' nooutput
stats dat using (good(column('max_abs')) ? column('max_abs') : M_min) name 'MT' nooutput
stats dat using (good(column('bound')) ? column('bound') : L_min) name 'B' nooutput
stats dat using (column('depth')) name 'D' nooutput
# Outputs are the first rows, so that their line has no gaps.
stats dat using (strcol('kind') eq 'output' ? 1 : NaN) name 'O' nooutput
top(a, b) = a > b ? a : b
floor_of(v) = 10 ** (floor(log10(v)) - 1)
ceil_of(v) = 10 ** (ceil(log10(v)) + 1)

set logscale y
set format y '10^{%L}'
set grid ytics lc rgb '#dddddd' lw 0.7
set border 3 lc rgb '#555555'
set tics nomirror out
set xrange [D_min - 0.5 : D_max + 0.5]
set xtics rotate by -45 scale 0.5 font ',10'
set key outside right top samplen 2 spacing 1.2
set style data points
set multiplot layout 2,1 title head noenhanced \
    margins 0.08,0.84,0.12,0.93 spacing 0.11

do for [panel = 1:2] {
    y = panel == 1 ? 'relative_l2' : 'max_abs'
    low = floor_of(panel == 1 ? L_min : M_min)
    high = ceil_of(panel == 1 ? top(LT_max, B_max) : MT_max)
    set yrange [low : high]
    set ylabel panel == 1 ? 'relative L2' : 'largest absolute difference'
    set xlabel panel == 1 ? '' : axis
    if (panel == 2) { set key off }
    plot dat using 'depth':(at('norm', y)) pt 2 ps 0.7 lc rgb '#999999' title 'norms', \
        dat using 'depth':(at('attention', y)) pt 7 ps 0.6 lc rgb '#e69f00' title 'attention', \
        dat using 'depth':(at('mlp', y)) pt 5 ps 0.6 lc rgb '#009e73' title 'mlp', \
        dat using 'depth':(at('other', y)) pt 9 ps 0.9 lc rgb '#cc79a7' title 'other', \
        dat every ::0::(O_records - 1) using 'depth':(at('output', y)):xtic(strcol('tic')) \
            with linespoints pt 6 ps 1 lw 2 lc rgb '#0072b2' title 'outputs', \
        dat every ::0::(O_records - 1) using 'depth':(panel == 1 && good(column('theirs')) \
            ? column('theirs') : NaN) with lines lw 1.5 dt 2 lc rgb '#56b4e9' \
            title 'their float32', \
        dat every ::0::(O_records - 1) using 'depth':(panel == 1 && good(column('bound')) \
            ? column('bound') : NaN) with linespoints pt 0 lw 1 dt 3 lc rgb '#d55e00' \
            title 'bound', \
        dat using 'depth':(column(y) == 0 ? low * 1.5 : NaN) pt 10 ps 0.8 lc rgb '#0072b2' \
            title 'exactly 0', \
        dat using 'depth':(column('finite') == 0 ? high / 1.5 : NaN) pt 1 ps 1.5 lw 3 \
            lc rgb '#d00000' title 'not finite'
}
unset multiplot
